// Every op.
#pragma once

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/conv3d.h>
#include <thimble/core/ops/dropout.h>
#include <thimble/core/ops/einsum.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/embedding.h>
#include <thimble/core/ops/grid_sample.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/interpolate.h>
#include <thimble/core/ops/local_response_norm.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/norm.h>
#include <thimble/core/ops/order.h>
#include <thimble/core/ops/pad_same.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool3d.h>
#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/recurrent.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/upsample.h>
