#pragma once
// What the kernels inside PyTorch share: PyTorch's tensors as views, results, launching.

#include <array>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "python/wellspring/bridge/bridge.h"
#include "tensor/dispatch.h"

namespace wellspring::python {

using torch_bridge::Arg;
using torch_bridge::Bridge;
using torch_bridge::Frame;
using torch_bridge::Kind;
using torch_bridge::TensorArg;

/// The loaded bridge; set before any kernel runs.
const Bridge& bridge();
void set_bridge(const Bridge* b);

/// One operator of PyTorch that a kernel of ours answers.
struct Entry {
  std::string name;  // "aten::add.Tensor"
  int arguments;     // that its schema has
  torch_bridge::KernelFunction kernel;
  const void* data = nullptr;
  bool random = false;  // only when asked for: seeds keep their meaning
  // Of an operator that PyTorch composes of others: its derivative, and by which arguments.
  const Entry* derivative = nullptr;
  std::vector<int> differentiable = {};
  bool changes_arguments = false;  // "aten::add_.Tensor", "aten::mm.out"; set from the name
};
/// All of them, by family; each in a file of this folder.
void add_pointwise(std::vector<Entry>* all);
void add_matmul(std::vector<Entry>* all);
void add_norm(std::vector<Entry>* all);
void add_softmax(std::vector<Entry>* all);
void add_loss(std::vector<Entry>* all);
void add_attention(std::vector<Entry>* all);
void add_reduce(std::vector<Entry>* all);
void add_copy(std::vector<Entry>* all);
void add_optimizer(std::vector<Entry>* all);
void add_random(std::vector<Entry>* all);
void add_channels(std::vector<Entry>* all);
void add_composite(std::vector<Entry>* all);
void add_conv(std::vector<Entry>* all);
void add_transforms(std::vector<Entry>* all);
void add_terms(std::vector<Entry>* all);
void add_named(std::vector<Entry>* all);

/// Calls of one operator with tensors of the same shapes, counted while watching is on.
struct ShapeCounts {
  uint64_t ours = 0, theirs = 0;
  double seconds = 0;  // inside ours
};
void watch_shapes(bool on);
/// By operator and shapes ("f32[2, 3], i64[4]").
std::map<std::pair<std::string, std::string>, ShapeCounts> shape_counts();
void reset_shape_counts();

/// Runs the kernel of an Entry, which Frame::data is. Where an operator of ours refuses a call,
/// PyTorch's kernel answers it, with PyTorch's own message.
bool answer(Frame& f);

std::optional<DType> dtype_of(int8_t torch_type);
int8_t torch_type(DType dtype);

/// A tensor that our kernels take: plain, of up to 8 dimensions and a dtype of ours; else null.
const TensorArg* taken(const Arg& a);
bool takes(const TensorArg& t);
inline DType dtype_of(const TensorArg& t) { return *dtype_of(t.type); }
bool is_contiguous(const TensorArg& t);
/// Whether PyTorch takes it for images whose channels are the last dimension in memory.
bool channels_last(const TensorArg& t);
bool same_sizes(const TensorArg& a, const TensorArg& b);
/// Whether two tensors may share memory.
bool may_overlap(const TensorArg& a, const TensorArg& b);
/// Whether two tensors are the same elements in the same order.
bool same_place(const TensorArg& a, const TensorArg& b);

inline View view_of(const TensorArg& t) {
  return {t.data, *dtype_of(t.type), t.dims, t.sizes, t.strides};
}

/// A view with geometry of its own.
struct OwnView {
  int64_t sizes[kMaxDims], strides[kMaxDims];
  int dims = 0;
  void* data = nullptr;
  DType dtype = DType::f32;
  void add(int64_t size, int64_t stride) { sizes[dims] = size, strides[dims++] = stride; }
  View view() const { return {data, dtype, dims, sizes, strides}; }
};
/// Row-major.
OwnView packed_view(void* data, DType dtype, std::initializer_list<int64_t> sizes);

/// A new tensor as result i.
TensorArg make_result(Frame& f, std::span<const int64_t> sizes, int8_t type,
                      const int64_t* strides = nullptr);
inline TensorArg make_like(Frame& f, const TensorArg& t) {
  return make_result(f, {t.sizes, static_cast<size_t>(t.dims)}, t.type);
}
/// A new tensor of t's sizes whose dimensions lie in memory in the order of t's, without gaps: what
/// PyTorch's empty_like() gives.
TensorArg make_ordered_like(Frame& f, const TensorArg& t);
/// Argument i of the call is the next result; -1: an undefined tensor.
inline void give_back(Frame& f, int argument) { f.result_args[f.result_count++] = argument; }

/// Runs a kernel of the CPU on views, on as many threads as PyTorch has.
void run_kernel(const KernelRef& kernel, std::initializer_list<View> outs,
                std::initializer_list<View> ins, std::initializer_list<Attr> attrs = {});
void run_kernel(const KernelRef& kernel, std::span<const View> outs, std::span<const View> ins,
                std::span<const Attr> attrs);

inline bool is_none(const Arg& a) { return a.kind == Kind::none; }
/// A number of any kind as a double.
std::optional<double> number_of(const Arg& a);

}  // namespace wellspring::python
