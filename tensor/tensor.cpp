#include "tensor/tensor.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "tensor/allocator.h"
#include "tensor/dispatch.h"
#include "tensor/host_copy.h"

namespace wellspring {

Shape::Shape(std::span<const int64_t> dims) {
  for (int64_t d : dims) push_back(d);
}

void Shape::push_back(int64_t v) {
  if (n_ == kMaxDims)
    throw Error(Fault::usage, str("a tensor has at most ", kMaxDims, " dimensions"));
  d_[n_++] = v;
}

bool Shape::operator==(const Shape& o) const {
  return n_ == o.n_ && std::memcmp(d_, o.d_, n_ * sizeof(int64_t)) == 0;
}

int64_t Shape::numel() const {
  int64_t n = 1;
  bool overflow = false, empty = false;
  for (int64_t d : *this) {
    if (d < 0) throw Error(Fault::usage, str("shape ", text(), " has a negative extent"));
    empty |= d == 0;
    if (d) overflow |= __builtin_mul_overflow(n, d, &n);
  }
  if (empty) return 0;
  if (overflow) throw Error(Fault::usage, str("shape ", text(), " has more than 2^63 elements"));
  return n;
}

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < n_; ++i) append(out, i ? ", " : ""), append(out, d_[i]);
  return out + "]";
}

Shape contiguous_strides(const Shape& shape) {
  Shape s = shape;
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    s[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  }
  return s;
}

Storage::Storage(Device device, size_t bytes)
    : device(device), data(allocate_memory(device, bytes)), bytes(bytes) {}
Storage::Storage(Device device, void* data, size_t bytes, std::shared_ptr<const void> owner)
    : device(device), data(data), bytes(bytes), owner(std::move(owner)) {
  WS_CHECK(this->owner, "foreign memory needs an owner");
}
Storage::~Storage() {
  if (!owner) free_memory(device, data);
}

namespace {

Tensor make(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype) {
  auto d = std::make_shared<TensorData>();
  d->storage = std::move(storage);
  d->shape = shape;
  d->strides = contiguous_strides(shape);
  d->dtype = dtype;
  return Tensor(std::move(d));
}

size_t bytes_of(const Shape& shape, DType dtype) {
  int64_t bytes;
  if (__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes))
    throw Error(Fault::usage, str("a tensor of shape ", shape.text(), " has more than 2^63 bytes"));
  return bytes;
}

template <class T>
Tensor from_values(std::span<const T> values, const Shape& shape, DType value_type, DType dtype,
                   Device device) {
  if (static_cast<int64_t>(values.size()) != shape.numel())
    throw Error(Fault::usage, str(values.size(), " values do not fill shape ", shape.text()));
  Shape strides = contiguous_strides(shape);
  Tensor host = Tensor::empty(shape, dtype);
  View source{const_cast<T*>(values.data()), value_type, shape.size(), shape.data(),
              strides.data()};
  host_copy(host.view(), source);
  return host.to_device(device);
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return make(std::make_shared<Storage>(device, bytes_of(shape, dtype)), shape, dtype);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  return full(shape, 0, dtype, device);
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  if (!device.is_cpu() && !is_complex(dtype)) {
    static KernelRef fill("fill");
    const Tensor t = empty(shape, dtype, device);
    if (t.numel()) launch(fill, {t}, {}, {value});
    return t;
  }
  Tensor one = empty({}, dtype);
  Shape none;
  View source{&value, DType::f64, 0, none.data(), none.data()};
  host_copy(one.view(), source);
  Tensor t = empty(shape, dtype);
  Shape still = shape;
  for (int i = 0; i < still.size(); ++i) still[i] = 0;
  View spread{one.data(), dtype, shape.size(), t.shape().data(), still.data()};
  if (t.numel() == 0) return t.to_device(device);
  if (value == 0 && !std::signbit(value))
    std::memset(t.data(), 0, t.storage()->bytes);
  else
    host_copy(t.view(), spread);
  return t.to_device(device);
}

Tensor Tensor::from(std::span<const float> values, const Shape& shape, DType dtype, Device device) {
  return from_values(values, shape, DType::f32, dtype, device);
}
Tensor Tensor::from(std::span<const int32_t> values, const Shape& shape, Device device) {
  return from_values(values, shape, DType::i32, DType::i32, device);
}
Tensor Tensor::from(std::span<const int64_t> values, const Shape& shape, Device device) {
  return from_values(values, shape, DType::i64, DType::i64, device);
}

Tensor Tensor::wrap(void* data, const Shape& shape, DType dtype,
                    std::shared_ptr<const void> owner) {
  return make(std::make_shared<Storage>(Device{}, data, bytes_of(shape, dtype), std::move(owner)),
              shape, dtype);
}

Tensor Tensor::wrap(const View& view) {
  int64_t extent = 1;  // elements from the first to behind the last
  for (int d = 0; d < view.dims; ++d)
    extent = view.shape[d] && extent ? extent + (view.shape[d] - 1) * view.strides[d] : 0;
  auto data = std::make_shared<TensorData>();
  data->storage = std::make_shared<Storage>(
      Device{}, view.data, static_cast<size_t>(extent) * size_of(view.dtype),
      std::shared_ptr<const void>(std::shared_ptr<const void>(), view.data));
  data->shape = Shape(std::span(view.shape, static_cast<size_t>(view.dims)));
  data->strides = Shape(std::span(view.strides, static_cast<size_t>(view.dims)));
  data->dtype = view.dtype;
  return Tensor(std::move(data));
}

int64_t Tensor::size(int dim) const {
  int n = dims();
  if (dim < -n || dim >= n)
    throw IndexError(str("dimension ", dim, " is out of range for ", text()));
  return shape()[dim < 0 ? dim + n : dim];
}

bool Tensor::is_contiguous() const {
  int64_t step = 1;
  for (int i = dims() - 1; i >= 0; --i) {
    if (shape()[i] == 0) return true;
    if (shape()[i] != 1 && strides()[i] != step) return false;
    step *= shape()[i];
  }
  return true;
}

View Tensor::view() const {
  return {data(), dtype(), dims(), data_->shape.data(), data_->strides.data()};
}

std::string Tensor::text() const {
  if (!defined()) return "undefined tensor";
  return str(name_of(dtype()), shape().text(),
             device().is_cpu() ? "" : " on " + device_name(device()));
}

Tensor Tensor::as_strided(const Shape& shape, const Shape& strides, int64_t offset) const {
  WS_CHECK(shape.size() == strides.size(), "shape and strides differ in length");
  int64_t low = offset, high = offset;
  if (shape.numel() > 0) {
    for (int i = 0; i < shape.size(); ++i)
      (strides[i] < 0 ? low : high) += (shape[i] - 1) * strides[i];
    int64_t elements = static_cast<int64_t>(storage()->bytes / size_of(dtype()));
    if (low < 0 || high >= elements)
      throw Error(Fault::usage,
                  str("a view of shape ", shape.text(), ", strides ", strides.text(), ", offset ",
                      offset, " leaves its storage of ", elements, " elements"));
  }
  auto d = std::make_shared<TensorData>();
  d->storage = storage();
  d->shape = shape;
  d->strides = strides;
  d->offset = offset;
  d->dtype = dtype();
  d->is_view = true;
  return Tensor(std::move(d));
}

namespace {

// The strip of memory from a tensor's first element to its last, in elements from its first byte.
struct Strip {
  int64_t before = 0, length = 0;
};
Strip strip_of(const Tensor& t) {
  Strip s{0, 1};
  for (int i = 0; i < t.dims(); ++i) {
    const int64_t reach = (t.shape()[i] - 1) * t.strides()[i];
    if (reach < 0) s.before -= reach;
    s.length += std::abs(reach);
  }
  return s;
}

// The strip of a strided tensor on another chip, on the host, as a view with the same strides.
Tensor strip_on_host(const Tensor& t) {
  const Strip s = strip_of(t);
  const Tensor strip = t.as_strided({s.length}, {1}, t.offset() - s.before).to_device({});
  return strip.as_strided(t.shape(), t.strides(), s.before);
}

}  // namespace

Tensor Tensor::detach() const { return as_strided(shape(), strides(), offset()); }

Tensor Tensor::on(std::shared_ptr<Storage> storage) const {
  auto d = std::make_shared<TensorData>();
  d->storage = std::move(storage);
  d->shape = shape();
  d->strides = strides();
  d->offset = offset();
  d->dtype = dtype();
  d->is_view = true;
  return Tensor(std::move(d));
}

namespace {

// Successive bytes of a storage to the begin of another one, on another device, or on the same when
// that is not the CPU.
void move_bytes(const Storage& from, const void* data, Storage& to, size_t bytes) {
  if (!bytes) return;
  const Chip& source = chips()[from.device.chip];
  const Chip& target = chips()[to.device.chip];
  Queue* queue = from.queue ? from.queue : source.queue(from.device.index);
  if (to.device.is_cpu()) {
    source.to_host(queue, to.data, data, bytes);
    return;
  }
  to.queue = target.queue(to.device.index);
  if (from.device.is_cpu()) {
    target.from_host(to.queue, to.data, data, bytes);
  } else if (from.device == to.device) {
    target.copy(to.queue, to.data, data, bytes);
  } else if (from.device.chip == to.device.chip && source.peer_copy) {
    source.peer_copy(queue, data, to.queue, to.data, bytes);
  } else {
    Storage host({}, bytes);
    move_bytes(from, data, host, bytes);
    move_bytes(host, host.data, to, bytes);
  }
}

}  // namespace

std::shared_ptr<Storage> copy_storage(const Storage& storage, Device to) {
  auto copy = std::make_shared<Storage>(to, storage.bytes);
  if (to.is_cpu() && storage.device.is_cpu())
    std::memcpy(copy->data, storage.data, storage.bytes);
  else
    move_bytes(storage, storage.data, *copy, storage.bytes);
  return copy;
}

Tensor Tensor::to_device(Device to) const {
  if (device() == to) return *this;
  if (!numel()) return empty(shape(), dtype(), to);
  if (!is_contiguous()) {
    Tensor host = device().is_cpu() ? *this : strip_on_host(*this),
           packed = empty(shape(), dtype());
    host_copy(packed.view(), host.view());
    return packed.to_device(to);
  }
  Tensor result = empty(shape(), dtype(), to);
  move_bytes(*storage(), data(), *result.storage(), numel() * size_of(dtype()));
  return result;
}

void Tensor::copy_from(const Tensor& source) const {
  if (source.shape() != shape())
    throw Error(Fault::usage, str("copy of ", source.text(), " into ", text(), ": shapes differ"));
  changed();
  if (device().is_cpu()) {
    host_copy(view(), source.to_device({}).view());
    return;
  }
  if (!numel()) return;
  if (source.device() == device()) {  // in the order of its queue, without a way over the host
    static KernelRef copy("copy");
    launch(copy, {*this}, {source});
    return;
  }
  const bool whole = is_contiguous();  // else the elements in between travel, too
  const Tensor host = whole ? empty(shape(), dtype()) : strip_on_host(*this);
  host_copy(host.view(), source.to_device({}).view());
  const Strip s = whole ? Strip{0, numel()} : strip_of(*this);
  const size_t size = size_of(dtype());
  const Chip& chip = chips()[device().chip];
  storage()->queue = chip.queue(device().index);
  chip.from_host(storage()->queue, static_cast<char*>(data()) - s.before * size,
                 static_cast<char*>(host.data()) - s.before * size, s.length * size);
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  constexpr DType type = std::is_same_v<T, float>     ? DType::f32
                         : std::is_same_v<T, double>  ? DType::f64
                         : std::is_same_v<T, int32_t> ? DType::i32
                                                      : DType::i64;
  std::vector<T> out(numel());
  Shape packed = contiguous_strides(shape());
  Tensor host = to_device({});
  host_copy(View{out.data(), type, dims(), shape().data(), packed.data()}, host.view());
  return out;
}
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<int32_t> Tensor::to_vector() const;
template std::vector<int64_t> Tensor::to_vector() const;

double Tensor::item() const {
  if (numel() != 1)
    throw Error(Fault::usage, str("item() of ", text(), ": it has not one element"));
  return to_vector<double>()[0];
}

}  // namespace wellspring
