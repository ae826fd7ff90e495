#include "nn/init.h"

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "base/threads.h"

namespace wellspring {
namespace {

uint64_t hash_name(const std::string& name) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325ull;
  for (unsigned char c : name) h = (h ^ c) * 0x100000001b3ull;
  return h;
}

// Element `index` of a stream: redraws are further blocks of the same counter space.
float normal_at(uint64_t seed, uint64_t stream, uint64_t index, double bound) {
  for (uint64_t draw = 0;; ++draw) {
    auto w = philox(seed, index | draw << 48, stream);
    double u = (w[0] + 0.5) * 0x1p-32, v = (w[1] + 0.5) * 0x1p-32;
    double z = std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
    if (bound <= 0 || std::fabs(z) <= bound) return static_cast<float>(z);
  }
}

void write_master(const Parameter& p, const Tensor& host) {
  if (host.same(p.master))
    host.changed();
  else
    p.master.copy_from(host);
  refresh_compute(p);
}

}  // namespace

void init_normal(const Parameter& p, uint64_t seed, double std, double bound) {
  WS_CHECK(p.master.defined(), "only masters are initialised");
  const Tensor host = p.master.to_device({});  // itself when it is there
  float* base = host.data_as<float>();
  const int64_t columns = p.master.dims() > 1 ? p.master.numel() / p.master.size(0) : 1;
  for (const ParameterPart& part : p.parts) {
    const uint64_t stream = hash_name(part.name);
    constexpr int64_t kPiece = 4096;
    const int64_t n = part.rows * columns;
    float* to = base + part.row * columns;
    parallel_for((n + kPiece - 1) / kPiece, [&](int64_t tile) {
      const int64_t end = std::min(n, (tile + 1) * kPiece);
      for (int64_t i = tile * kPiece; i < end; ++i)
        to[i] = static_cast<float>(std) * normal_at(seed, stream, static_cast<uint64_t>(i), bound);
    });
  }
  write_master(p, host);
}

void init_constant(const Parameter& p, double value) {
  WS_CHECK(p.master.defined(), "only masters are initialised");
  write_master(p, Tensor::full(p.shape(), value));
}

}  // namespace wellspring
