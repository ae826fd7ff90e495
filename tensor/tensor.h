#pragma once
// Tensor: a small reference-counted handle on storage with dtype, shape, strides and offset.
// Views share storage. Copying a handle is cheap and never copies data. A handle may be used from
// one thread at a time; distinct handles on the same storage may be read from many.

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/chip.h"
#include "tensor/dtype.h"

namespace wellspring {

/// Up to 8 extents (or strides), without heap memory.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);
  explicit Shape(const std::vector<int64_t>& dims) : Shape(std::span<const int64_t>(dims)) {}
  int size() const { return n_; }
  int64_t operator[](int i) const { return d_[i]; }
  int64_t& operator[](int i) { return d_[i]; }
  const int64_t* begin() const { return d_; }
  const int64_t* end() const { return d_ + n_; }
  const int64_t* data() const { return d_; }
  void push_back(int64_t v);
  bool operator==(const Shape& o) const;
  /// Product of the extents; Error(Fault::usage) when it overflows 63 bits or an extent is
  /// negative.
  int64_t numel() const;
  /// "[2, 3, 4]".
  std::string text() const;

 private:
  int n_ = 0;
  int64_t d_[kMaxDims] = {};
};

/// Row-major strides of a shape.
Shape contiguous_strides(const Shape& shape);

/// Memory on one device, shared by the views on it.
struct Storage {
  Device device;
  void* data = nullptr;
  size_t bytes = 0;
  /// Rises with every in-place change; autograd compares it with what it saw when saving.
  uint32_t version = 0;
  /// The queue that last wrote it (null: the host, or the CPU).
  Queue* queue = nullptr;
  /// Keeps foreign memory alive (a mapping, a DLPack capsule); null when the allocator owns `data`.
  std::shared_ptr<const void> owner;

  Storage(Device device, size_t bytes);  // from the caching allocator, not initialised
  Storage(Device device, void* data, size_t bytes, std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
};

/// All bytes of a storage on another device.
std::shared_ptr<Storage> copy_storage(const Storage& storage, Device to);

class Tensor;
struct GradNode;

/// What autograd keeps beside a tensor that takes part in it.
struct AutogradMeta {
  bool requires_grad = false;             // set by the user on a leaf
  std::shared_ptr<GradNode> node;         // who made it; null for leaves
  int slot = 0;                           // which output of `node`
  std::shared_ptr<GradNode> accumulator;  // of a leaf: adds into grad
  std::unique_ptr<Tensor> grad;
};

struct TensorData {
  std::shared_ptr<Storage> storage;
  Shape shape, strides;
  int64_t offset = 0;  // in elements
  DType dtype = DType::f32;
  bool is_view = false;
  std::unique_ptr<AutogradMeta> autograd;
};

class Tensor {
 public:
  /// An undefined tensor: no storage, no shape; most calls on it are errors.
  Tensor() = default;

  /// Not initialised.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32,
                     Device device = {});
  /// From host values (converted to dtype), row-major.
  static Tensor from(std::span<const float> values, const Shape& shape, DType dtype = DType::f32,
                     Device device = {});
  static Tensor from(std::span<const int32_t> values, const Shape& shape, Device device = {});
  static Tensor from(std::span<const int64_t> values, const Shape& shape, Device device = {});
  /// A view of foreign host memory, which `owner` keeps alive.
  static Tensor wrap(void* data, const Shape& shape, DType dtype,
                     std::shared_ptr<const void> owner);
  /// On a view's host memory, which another library owns and which outlives the tensor.
  /// Strides are not negative.
  static Tensor wrap(const View& view);

  bool defined() const { return data_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return data_->shape; }
  const Shape& strides() const { return data_->strides; }
  int dims() const { return data_->shape.size(); }
  /// Extent of a dimension; negative counts from the end. Error(Fault::usage) when out of range.
  int64_t size(int dim) const;
  int64_t numel() const { return data_->shape.numel(); }
  DType dtype() const { return data_->dtype; }
  Device device() const { return data_->storage->device; }
  int64_t offset() const { return data_->offset; }
  const std::shared_ptr<Storage>& storage() const { return data_->storage; }
  bool is_contiguous() const;
  bool is_view() const { return data_->is_view; }
  /// Address of the first element (a device address).
  void* data() const {
    return static_cast<char*>(data_->storage->data) + data_->offset * size_of(data_->dtype);
  }
  template <class T>
  T* data_as() const {
    return static_cast<T*>(data());
  }
  /// For kernels; valid while this handle lives and keeps its shape.
  View view() const;
  /// "f32[2, 3] on cpu".
  std::string text() const;

  // Views without autograd (the differentiable forms are operators, ops/shape.h).
  /// Same storage with other geometry (strides in elements; bounds are checked).
  Tensor as_strided(const Shape& shape, const Shape& strides, int64_t offset) const;
  /// Same storage and geometry, no gradient history.
  Tensor detach() const;
  /// Same geometry and dtype on another storage (of at least as many bytes).
  Tensor on(std::shared_ptr<Storage> storage) const;

  /// Copies to the host as contiguous values of the tensor's dtype converted to T (float, double,
  /// int32_t, int64_t). Waits for pending work.
  template <class T>
  std::vector<T> to_vector() const;
  /// The single element. Error(Fault::usage) when there are more.
  double item() const;
  /// Copies values from another tensor of the same shape (any dtype, device, strides) into this
  /// one, in place, without gradient.
  void copy_from(const Tensor& source) const;
  /// A copy on another device (or itself when it is there already), without gradient.
  Tensor to_device(Device device) const;
  /// Raises the version: call after writing through data().
  void changed() const { ++data_->storage->version; }
  uint32_t version() const { return data_->storage->version; }

  // Autograd (tensor/autograd.h).
  bool requires_grad() const;
  /// Only leaves of a floating dtype: Error(Fault::usage) otherwise. Returns *this.
  const Tensor& set_requires_grad(bool on) const;
  /// The accumulated gradient (undefined when none); its dtype may be wider than the tensor's.
  Tensor grad() const;
  void set_grad(const Tensor& grad) const;
  bool is_leaf() const;

  bool same(const Tensor& o) const { return data_ == o.data_; }
  TensorData* impl() const { return data_.get(); }
  const std::shared_ptr<TensorData>& handle() const { return data_; }
  explicit Tensor(std::shared_ptr<TensorData> data) : data_(std::move(data)) {}

 private:
  std::shared_ptr<TensorData> data_;
};

}  // namespace wellspring
