// How much may be made of a model while it is read. Internal.
#pragma once

#include <map>

#include <onnx/onnx_pb.h>

#include <thimble/core/platform/mapped_file.h>

namespace thimble::onnx {

/// A few bytes of a file may ask for any number of elements, nodes and copies. All that one model asks for comes out of
/// two accounts. Each grows with the numbers that the file holds, counted as float32, whatever their type:
///
///   limit = slack + 8 * numbers     for constants that are computed while the model is read
///   4 * limit                       for what the graph is made of: nodes, tensors, copies of functions and branches
class ImportBudget {
 public:
  static constexpr double kSlack = 64 << 20;
  static constexpr double kNode = 1024;  ///< what a node, or a name and its value, take

  explicit ImportBudget(const ::onnx::ModelProto& model, double slack = kSlack);

  /// The tensor's numbers lie in a file of their own, or outside of the message: what this has, once, counts as the
  /// model's, too.
  void add_external(const ::onnx::TensorProto& tensor, const MappedFile& file);

  /// Takes so many bytes for a constant; false, and nothing is taken, if they are not there. What is not computed now
  /// is computed when the graph runs.
  bool compute(double bytes);
  /// Of what compute() took.
  void give_back(double bytes) { computed_ -= bytes; }
  /// Takes so many bytes for what the graph is made of. Throws FormatError if they are not there.
  void hold(double bytes);

 private:
  double limit() const { return slack_ + 8 * numbers_; }

  double slack_, numbers_, computed_ = 0, held_ = 0;
  std::map<const MappedFile*, double> external_;  // what each file has added
};

}  // namespace thimble::onnx
