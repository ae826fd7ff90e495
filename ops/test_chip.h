#pragma once
// A second chip, for tests: two devices with host memory behind addresses that fault when followed,
// queues whose work waits until somebody asks for it, and two kernels ("add" and "fill", the CPU's
// own).

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dispatch.h"

namespace wellspring {

namespace fake {

struct Queue : wellspring::Queue {
  std::deque<std::function<void()>> work;
  std::vector<std::string> done;  // what ran, in order
  void put(const char* name, std::function<void()> f) {
    work.push_back([this, name, f = std::move(f)] { f(), done.emplace_back(name); });
  }
  void drain() {
    for (; !work.empty(); work.pop_front()) work.front()();
  }
};
inline Queue& of(wellspring::Queue* queue) { return *static_cast<Queue*>(queue); }

inline Queue queues[2];
inline constexpr uintptr_t kShift = uintptr_t{1} << 62;  // no address of a process reaches there

inline void* shifted(void* host) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(host) + kShift);
}
inline void* real(const void* device) {
  WS_CHECK(reinterpret_cast<uintptr_t>(device) >= kShift,
           "a host address where the device's is wanted");
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device) - kShift);
}

// The CPU's kernel later, on the memory behind the addresses. A call's views live for the call
// only.
inline void enqueue(const char* name, const Call& call) {
  struct Kept {
    std::vector<Shape> shapes, strides;
    std::vector<View> views;
    std::vector<Attr> attrs;
  };
  auto kept = std::make_shared<Kept>();
  const size_t n = call.outs + call.ins;
  kept->shapes.resize(n), kept->strides.resize(n), kept->views.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const View& v = i < static_cast<size_t>(call.outs) ? call.out[i] : call.in[i - call.outs];
    if (!v.defined()) continue;
    kept->shapes[i] = Shape(std::span(v.shape, v.dims)),
    kept->strides[i] = Shape(std::span(v.strides, v.dims));
    kept->views[i] = {real(v.data), v.dtype, v.dims, kept->shapes[i].data(),
                      kept->strides[i].data()};
  }
  kept->attrs.assign(call.attr, call.attr + call.attrs);
  Kernel kernel = nullptr;
  for (const NamedKernel& k : chips()[0].kernels())
    if (!std::strcmp(k.name, name)) kernel = k.kernel;
  of(call.queue).put(name, [=, outs = call.outs, ins = call.ins, attrs = call.attrs] {
    kernel({kept->views.data(), kept->views.data() + outs, kept->attrs.data(), outs, ins, attrs,
            nullptr});
  });
}

// Takes the bytes now, and puts them there in its turn.
inline void put_bytes(wellspring::Queue* queue, const char* name, void* to, const void* from,
                      size_t bytes) {
  of(queue).put(name, [to, held = std::string(static_cast<const char*>(from), bytes)] {
    std::memcpy(real(to), held.data(), held.size());
  });
}

/// The chip's number; registers it at the first call.
inline uint8_t chip() {
  static const int number = register_chip({
      .name = "fake",
      .device_count = [] { return 2; },
      .why_absent = [] { return std::string(); },
      .capabilities =
          [](int) {
            return Capabilities{"a fake", 1u << static_cast<int>(DType::f32), 0, 64, 1 << 30};
          },
      .allocate =
          [](int, size_t bytes) {
            return shifted(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
          },
      .free = [](int device, void* data, size_t) { queues[device].drain(), std::free(real(data)); },
      .queue = [](int device) -> wellspring::Queue* { return &queues[device]; },
      .from_host = [](wellspring::Queue* q, void* to, const void* from,
                      size_t n) { put_bytes(q, "from_host", to, from, n); },
      .to_host = [](wellspring::Queue* q, void* to, const void* from,
                    size_t n) { of(q).drain(), std::memcpy(to, real(from), n); },
      .copy = [](wellspring::Queue* q, void* to, const void* from,
                 size_t n) { of(q).put("copy", [=] { std::memcpy(real(to), real(from), n); }); },
      .peer_copy =
          [](wellspring::Queue* q, const void* from, wellspring::Queue* other, void* to, size_t n) {
            of(q).drain(), put_bytes(other, "peer_copy", to, real(from), n);
          },
      .synchronize = [](wellspring::Queue* q) { of(q).drain(); },
      .record_event = [](wellspring::Queue* q) -> void* { return q; },
      .wait_event =
          [](wellspring::Queue* q, void* event) {
            of(q).put("wait", [event] { of(static_cast<wellspring::Queue*>(event)).drain(); });
          },
      .free_event = [](void*) {},
      .kernels =
          [] {
            return std::vector<NamedKernel>{{"add", [](const Call& c) { enqueue("add", c); }},
                                            {"fill", [](const Call& c) { enqueue("fill", c); }}};
          },
      .kernel_set = nullptr,
  });
  return static_cast<uint8_t>(number);
}

}  // namespace fake
}  // namespace wellspring
