#include "python/src/torch/call.h"

#include "base/threads.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring::python {
namespace {

// PyTorch owns the memory, which outlives the call.
Tensor borrowed_as(const TensorArg& t, DType dtype) {
  return Tensor::wrap(View{t.data, dtype, t.dims, t.sizes, t.strides});
}

bool takes_complex(const TensorArg& t) {
  return t.handle && t.plain && t.dims <= kMaxDims && t.type == torch_bridge::kC64;
}

bool is_taken(const TensorArg& t, const Named& row) {
  return (takes(t) || (row.operands == Named::kComplex && takes_complex(t))) &&
         (t.numel > 0 || row.empties) && (row.strided || is_contiguous(t));
}

// Every tensor of the call is one that operators of ours may read.
bool are_taken(const Frame& f, const Named& row) {
  for (int i = 0; i < f.count; ++i) {
    const Arg& a = f.args[i];
    if (a.kind == Kind::other) return false;
    if (a.kind == Kind::tensor && !is_taken(a.tensor, row)) return false;
    for (int64_t k = 0; a.kind == Kind::tensors && k < a.count; ++k)
      if (a.tensors[k].handle && !is_taken(a.tensors[k], row)) return false;
  }
  return true;
}

// An element that stands for several cannot be written.
bool is_written_once(const TensorArg& t) {
  for (int d = 0; d < t.dims; ++d)
    if (t.strides[d] == 0 && t.sizes[d] > 1) return false;
  return true;
}

bool named(Frame& f) {
  const Named& row = *static_cast<const Named*>(f.data);
  if (!are_taken(f, row)) return false;
  if (const TensorArg* first = taken(f.args[0])) {
    if (first->numel == 0) return false;
    const DType t = dtype_of(*first);
    if (row.operands != Named::kReal && !is_float(t)) return false;
    if (row.operands == Named::kF32 && t != DType::f32) return false;
    if (row.in_place) {
      if (!is_written_once(*first)) return false;
      for (int i = 1; i < f.count; ++i) {  // PyTorch says what that means
        const Arg& a = f.args[i];
        if (a.kind == Kind::tensor && may_overlap(*first, a.tensor)) return false;
        for (int64_t k = 0; a.kind == Kind::tensors && k < a.count; ++k)
          if (a.tensors[k].handle && may_overlap(*first, a.tensors[k])) return false;
      }
    }
  }
  if (const int n = bridge().threads(); n != threads() && n > 0) set_threads(n);
  const NoGrad off;
  Results results;
  try {
    results = row.answer(Arguments(f));
  } catch (const NotTaken&) {
    return false;
  }
  if (row.in_place) {
    give_back(f, 0);
    return true;
  }
  for (int i = 0; i < results.count; ++i) give(f, results.tensors[i]);
  return true;
}

}  // namespace

Tensor borrowed(const TensorArg& t) { return borrowed_as(t, dtype_of(t)); }

void give(Frame& f, const Tensor& given) {
  if (!given.defined()) return give_back(f, -1);
  // What is borrowed has an owner; PyTorch would not expect a result to share it.
  const Tensor t = given.storage()->owner || !given.is_contiguous() ? clone(given) : given;
  const auto drop = [](void* p) { delete static_cast<std::shared_ptr<Storage>*>(p); };
  auto* owner = new std::shared_ptr<Storage>(t.storage());
  const int64_t before = t.offset() * static_cast<int64_t>(size_of(t.dtype()));
  f.results[f.result_count++] =
      bridge()
          .adopt(t.shape().data(), t.dims(), torch_type(t.dtype()), t.data(),
                 static_cast<int64_t>(t.storage()->bytes) - before, owner, drop)
          .handle;
}

Tensor Arguments::tensor(int i) const {
  const TensorArg* t = taken(f_.args[i]);
  if (!t) throw NotTaken();
  return borrowed(*t);
}
Tensor Arguments::packed(int i) const {
  const Tensor t = tensor(i);
  if (!t.is_contiguous()) throw NotTaken();
  return t;
}
Tensor Arguments::complex(int i) const {
  const Arg& a = f_.args[i];
  if (a.kind != Kind::tensor || !takes_complex(a.tensor)) throw NotTaken();
  return borrowed_as(a.tensor, DType::c64);
}
Tensor Arguments::tensor_or_none(int i) const { return none(i) ? Tensor() : tensor(i); }
std::vector<Tensor> Arguments::tensors(int i) const {
  const Arg& a = f_.args[i];
  if (a.kind != Kind::tensors) throw NotTaken();
  std::vector<Tensor> all;
  for (int64_t k = 0; k < a.count; ++k)
    all.push_back(a.tensors[k].handle ? borrowed(a.tensors[k]) : Tensor());
  return all;
}
int64_t Arguments::integer(int i) const {
  const Arg& a = f_.args[i];
  if (a.kind != Kind::integer && a.kind != Kind::boolean) throw NotTaken();
  return a.i;
}
double Arguments::real(int i) const {
  const auto v = number_of(f_.args[i]);
  if (!v) throw NotTaken();
  return *v;
}
Scalar Arguments::number(int i) const {
  const Arg& a = f_.args[i];
  if (a.kind == Kind::real) return a.f;
  if (a.kind == Kind::boolean) return a.i != 0;
  return integer(i);
}
std::vector<int64_t> Arguments::list(int i) const {
  const Arg& a = f_.args[i];
  if (a.kind == Kind::integer) return {a.i};
  // A list without entries may be one of any type.
  if (a.kind == Kind::tensors && a.count == 0) return {};
  if (a.kind != Kind::ints) throw NotTaken();
  return {a.ints, a.ints + a.count};
}
std::vector<int> Arguments::dims(int i) const {
  if (none(i)) return {};
  std::vector<int> all;
  for (const int64_t d : list(i)) all.push_back(static_cast<int>(d));
  return all;
}
std::optional<DType> Arguments::dtype(int i) const {
  if (none(i)) return std::nullopt;
  const auto t = python::dtype_of(static_cast<int8_t>(integer(i)));
  if (!t) throw NotTaken();
  return t;
}
std::string_view Arguments::text(int i) const {
  if (f_.args[i].kind != Kind::text) throw NotTaken();
  return f_.args[i].text;
}
void Arguments::off(int i) const {
  if (!none(i) && number_of(f_.args[i]) != 0.0) throw NotTaken();
}

void add_named(std::span<const Named> rows, std::vector<Entry>* all, bool random) {
  for (const Named& row : rows)
    all->push_back({std::string("aten::") + row.name, row.arguments, named, &row, random});
}

}  // namespace wellspring::python
