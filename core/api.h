// What the shared library exports.
#pragma once

/// Marks a class, or a function that is not inline, of an installed header: all else is compiled to be hidden in
/// libthimble.so, whose programs cannot come to depend on it.
#define THIMBLE_API __attribute__((visibility("default")))
