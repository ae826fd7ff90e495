// The attention kernels of every instruction set against naive attention in f64.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "base/threads.h"
#include "chips/cpu/test_kernels.h"
#include "tensor/tensor.h"

namespace wellspring {
namespace {

struct Case {
  int64_t B, T, S, H, Hk, D;
  bool causal = true;
  double scale = 0;
  std::vector<int32_t> lengths = {};
};

struct Naive {
  std::vector<double> o, lse, dq, dk, dv;
};

// o, lse and, with `out`, the gradients: all [B, T, H, D] row-major.
Naive naive(const Case& c, const Tensor& q_, const Tensor& k_, const Tensor& v_,
            const Tensor& out_) {
  const auto q = q_.to_vector<double>(), k = k_.to_vector<double>(), v = v_.to_vector<double>();
  std::vector<double> out;
  if (out_.defined()) out = out_.to_vector<double>();
  Naive r;
  r.o.assign(c.B * c.T * c.H * c.D, 0), r.lse.assign(c.B * c.H * c.T, -INFINITY);
  r.dq.assign(r.o.size(), 0), r.dk.assign(k.size(), 0), r.dv.assign(k.size(), 0);
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.D));
  for (int64_t b = 0; b < c.B; ++b)
    for (int64_t h = 0; h < c.H; ++h)
      for (int64_t t = 0; t < c.T; ++t) {
        const int64_t n = c.lengths.empty() ? c.S : c.lengths[b], hk = h / (c.H / c.Hk);
        const int64_t seen = c.causal ? std::min(n, t + n - c.T + 1) : n;
        if (seen <= 0) continue;
        const auto at = [&](int64_t j) { return ((b * c.S + j) * c.Hk + hk) * c.D; };
        const int64_t row = ((b * c.T + t) * c.H + h) * c.D;
        std::vector<double> p(seen);
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < seen; ++j) {
          for (int64_t d = 0; d < c.D; ++d) p[j] += q[row + d] * k[at(j) + d];
          p[j] *= scale, top = std::max(top, p[j]);
        }
        for (double& x : p) x = std::exp(x - top), sum += x;
        r.lse[(b * c.H + h) * c.T + t] = top + std::log(sum);
        double delta = 0;
        for (int64_t j = 0; j < seen; ++j) {
          p[j] /= sum;
          for (int64_t d = 0; d < c.D; ++d) r.o[row + d] += p[j] * v[at(j) + d];
        }
        if (out.empty()) continue;
        for (int64_t d = 0; d < c.D; ++d) delta += out[row + d] * r.o[row + d];
        for (int64_t j = 0; j < seen; ++j) {
          double dp = 0;
          for (int64_t d = 0; d < c.D; ++d) dp += out[row + d] * v[at(j) + d];
          const double ds = p[j] * (dp - delta) * scale;
          for (int64_t d = 0; d < c.D; ++d) {
            r.dv[at(j) + d] += p[j] * out[row + d];
            r.dq[row + d] += ds * k[at(j) + d];
            r.dk[at(j) + d] += ds * q[row + d];
          }
        }
      }
  return r;
}

void expect_near(const char* what, const Tensor& got, const std::vector<double>& want,
                 double rtol) {
  const auto x = got.to_vector<double>();
  ASSERT_EQ(x.size(), want.size()) << what;
  double square = 0, most = 0;
  for (double w : want)
    if (std::isfinite(w)) square += w * w;
  const double rms = std::sqrt(square / std::max<size_t>(1, want.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isinf(want[i])) {
      EXPECT_EQ(x[i], want[i]) << what << " at " << i;
      continue;
    }
    const double error = std::abs(x[i] - want[i]) / (std::abs(want[i]) + rms + 0.05);
    if (!(error <= most)) most = error;  // NaN stays
  }
  EXPECT_LE(most, rtol) << what;
}

// q, k and v as views of one packed tensor when the shapes allow it.
struct Inputs {
  Tensor packed, q, k, v;
};
Inputs inputs_of(const Case& c, DType dtype, uint64_t seed) {
  Inputs in;
  if (c.T != c.S) {
    in.q = random_tensor({c.B, c.T, c.H, c.D}, dtype, seed, -1.5f, 1.5f);
    in.k = random_tensor({c.B, c.S, c.Hk, c.D}, dtype, seed + 1, -1.5f, 1.5f);
    in.v = random_tensor({c.B, c.S, c.Hk, c.D}, dtype, seed + 2, -1.5f, 1.5f);
    return in;
  }
  const int64_t heads = c.H + 2 * c.Hk;
  in.packed = random_tensor({c.B, c.T, heads, c.D}, dtype, seed, -1.5f, 1.5f);
  const Shape strides = in.packed.strides();
  const auto part = [&](int64_t from, int64_t n) {
    return in.packed.as_strided({c.B, c.T, n, c.D}, strides, from * c.D);
  };
  in.q = part(0, c.H), in.k = part(c.H, c.Hk), in.v = part(c.H + c.Hk, c.Hk);
  return in;
}

void check(cpu::Isa isa, const Case& c, DType dtype) {
  SCOPED_TRACE(testing::Message() << cpu::name_of(isa) << " " << name_of(dtype) << " B" << c.B
                                  << " T" << c.T << " S" << c.S << " H" << c.H << "/" << c.Hk
                                  << " D" << c.D << (c.causal ? " causal" : ""));
  const bool wide = dtype == DType::f32;
  const Inputs in = inputs_of(c, dtype, 7);
  const Tensor o = Tensor::full({c.B, c.T, c.H, c.D}, NAN, dtype);
  const Tensor lse = Tensor::full({c.B, c.H, c.T}, NAN);
  Tensor lengths;
  if (!c.lengths.empty()) lengths = Tensor::from(c.lengths, {c.B});
  call(find_kernel(isa, "attention"), {o, lse}, {in.q, in.k, in.v, lengths}, {c.causal, c.scale});
  const Tensor out = random_tensor({c.B, c.T, c.H, c.D}, dtype, 99, -1.5f, 1.5f);
  const Naive want = naive(c, in.q, in.k, in.v, out);
  expect_near("o", o, want.o, wide ? 3e-6 : 1.2e-2);
  expect_near("lse", lse, want.lse, wide ? 2e-6 : 2e-4);
  if (!c.lengths.empty()) return;
  Tensor dq, dk, dv;
  if (in.packed.defined()) {
    const Tensor d = Tensor::full(in.packed.shape(), NAN, dtype);
    const auto like = [&](const Tensor& t) {
      return d.as_strided(t.shape(), t.strides(), t.offset());
    };
    dq = like(in.q), dk = like(in.k), dv = like(in.v);
  } else {
    dq = Tensor::full(in.q.shape(), NAN, dtype), dk = Tensor::full(in.k.shape(), NAN, dtype);
    dv = Tensor::full(in.v.shape(), NAN, dtype);
  }
  call(find_kernel(isa, "attention_backward"), {dq, dk, dv}, {out, in.q, in.k, in.v, o, lse},
       {c.causal, c.scale});
  expect_near("dq", dq, want.dq, wide ? 1e-5 : 3e-2);
  expect_near("dk", dk, want.dk, wide ? 1e-5 : 3e-2);
  expect_near("dv", dv, want.dv, wide ? 1e-5 : 3e-2);
}

const Case kCases[] = {
    {1, 1, 1, 1, 1, 32},
    {2, 17, 17, 3, 3, 64},
    {1, 48, 48, 2, 1, 64},
    {1, 64, 64, 1, 1, 128},
    {3, 50, 50, 6, 2, 40},
    {1, 129, 129, 2, 2, 80},
    {1, 131, 300, 2, 1, 96},
    {1, 131, 300, 2, 1, 96, false},
    {1, 97, 97, 1, 1, 256},
    {1, 70, 70, 1, 1, 33, false, 0.3},
    {1, 70, 70, 2, 1, 64, true, -0.2},
    {2, 5, 290, 4, 2, 64},
    {2, 3, 290, 4, 2, 64},
    {1, 1, 700, 6, 2, 128},
    {1, 1, 90, 2, 2, 40, false},
    {1, 4, 2, 1, 1, 64},  // queries that see no key
    {1, 60, 20, 1, 1, 64},
    {1, 0, 5, 1, 1, 64},
    {1, 9, 0, 1, 1, 64},
    {0, 9, 9, 1, 1, 64},
    {3, 1, 600, 4, 2, 64, true, 0, {600, 0, 257}},
    {3, 20, 300, 4, 2, 64, true, 0, {300, 7, 129}},
    {2, 20, 300, 4, 2, 64, false, 0, {300, 129}},
};

TEST(Attention, AgreesWithF64) {
  for (int i = 0; i < cpu::kIsaCount; ++i)
    for (const Case& c : kCases)
      for (DType dtype : {DType::f32, DType::bf16})
        if (cpu::has(static_cast<cpu::Isa>(i))) check(static_cast<cpu::Isa>(i), c, dtype);
}

// Everything that a call returns, as bytes.
std::string bits(const Case& c, DType dtype, int team) {
  set_threads(team);
  const cpu::Isa isa = cpu::best_isa();
  const Inputs in = inputs_of(c, dtype, 3);
  const Tensor o = Tensor::empty({c.B, c.T, c.H, c.D}, dtype), lse = Tensor::empty({c.B, c.H, c.T});
  call(find_kernel(isa, "attention"), {o, lse}, {in.q, in.k, in.v, Tensor()}, {c.causal, c.scale});
  const Tensor out = random_tensor({c.B, c.T, c.H, c.D}, dtype, 99, -1.5f, 1.5f);
  const Tensor dq = Tensor::empty(in.q.shape(), dtype), dk = Tensor::empty(in.k.shape(), dtype),
               dv = Tensor::empty(in.v.shape(), dtype);
  call(find_kernel(isa, "attention_backward"), {dq, dk, dv}, {out, in.q, in.k, in.v, o, lse},
       {c.causal, c.scale});
  std::string all;
  for (const Tensor& t : {o, lse, dq, dk, dv})
    all.append(static_cast<const char*>(t.data()), t.numel() * size_of(t.dtype()));
  return all;
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
  const int before = threads();
  for (const Case& c :
       {Case{1, 600, 600, 2, 1, 64}, Case{2, 100, 520, 9, 9, 80}, Case{2, 1, 900, 4, 2, 64}})
    for (DType dtype : {DType::f32, DType::bf16}) {
      const std::string one = bits(c, dtype, 1);
      for (int team : {2, 3, 16, 64}) EXPECT_TRUE(one == bits(c, dtype, team)) << team;
    }
  set_threads(before);
}

// Scratch memory grows with the sequence, not with its square: from 2048 to 4096 the scores of a
// single head would take 48 MB more.
TEST(Attention, ScratchDoesNotHoldTheScores) {
  const int team = threads();
  for (DType dtype : {DType::f32, DType::bf16}) {
    bits(Case{1, 2048, 2048, 2, 1, 64}, dtype, 2);
    const int64_t before = cpu::scratch_bytes();
    EXPECT_GT(before, 0);
    bits(Case{1, 4096, 4096, 2, 1, 64}, dtype, 2);
    EXPECT_LT(cpu::scratch_bytes() - before, 24 << 20) << name_of(dtype);
  }
  set_threads(team);
}

// A query's result depends neither on its neighbours, nor on the cache's capacity or what lies past
// it.
TEST(Attention, SameBitsForAnyBatchAndCache) {
  const Kernel kernel = find_kernel(cpu::best_isa(), "attention");
  for (DType dtype : {DType::f32, DType::bf16})
    for (int64_t T : {1, 30}) {
      const Tensor q = random_tensor({2, T, 4, 64}, dtype, 1, -1.5f, 1.5f);
      const Tensor k = random_tensor({2, 700, 2, 64}, dtype, 2, -1.5f, 1.5f),
                   v = random_tensor({2, 700, 2, 64}, dtype, 3, -1.5f, 1.5f);
      const Tensor o = Tensor::empty(q.shape(), dtype);
      call(kernel, {o}, {q, k, v, Tensor::from(std::vector<int32_t>{700, 400}, {2})}, {true, 0.0});
      // The second row alone, with a cache of just its length, and NaN after it.
      for (int64_t S : {400, 512}) {
        const Tensor k1 = Tensor::full({1, S, 2, 64}, NAN, dtype),
                     v1 = Tensor::full({1, S, 2, 64}, NAN, dtype);
        const size_t row = 2 * 64 * size_of(dtype);
        std::memcpy(k1.data(), static_cast<char*>(k.data()) + 700 * row, 400 * row);
        std::memcpy(v1.data(), static_cast<char*>(v.data()) + 700 * row, 400 * row);
        const Tensor q1 = q.as_strided({1, T, 4, 64}, q.strides(), T * 4 * 64);
        const Tensor o1 = Tensor::empty({1, T, 4, 64}, dtype);
        call(kernel, {o1}, {q1, k1, v1, Tensor::from(std::vector<int32_t>{400}, {1})}, {true, 0.0});
        const size_t bytes = T * 4 * 64 * size_of(dtype);
        EXPECT_EQ(0, std::memcmp(o1.data(), static_cast<char*>(o.data()) + bytes, bytes))
            << T << " " << S;
      }
    }
}

TEST(Attention, TakesInfinityAndNan) {
  const Kernel forward = find_kernel(cpu::best_isa(), "attention");
  const Kernel backward = find_kernel(cpu::best_isa(), "attention_backward");
  for (DType dtype : {DType::f32, DType::bf16})
    for (double bad : {-HUGE_VAL, HUGE_VAL, std::nan("")})
      for (int64_t T : {1, 20}) {
        const Tensor q = random_tensor({1, T, 1, 64}, dtype, 1, -1.5f, 1.5f),
                     k = random_tensor({1, T, 1, 64}, dtype, 2, -1.5f, 1.5f);
        const Tensor v = random_tensor({1, T, 1, 64}, dtype, 3, -1.5f, 1.5f),
                     o = Tensor::empty(q.shape(), dtype);
        const Tensor lse = Tensor::empty({1, 1, T});
        const Tensor last = q.as_strided({1}, {1}, T * 64 - 1);
        last.copy_from(Tensor::full({1}, bad, dtype));
        call(forward, {o, lse}, {q, k, v, Tensor()}, {true, 0.0});
        const auto x = o.to_vector<float>();
        for (int64_t i = 0; i < (T - 1) * 64; ++i) EXPECT_TRUE(std::isfinite(x[i]));
        if (bad != bad) {
          EXPECT_TRUE(std::isnan(x.back()));
        }
        const Tensor dq = Tensor::empty(q.shape(), dtype), dk = Tensor::empty(q.shape(), dtype),
                     dv = Tensor::empty(q.shape(), dtype);
        call(backward, {dq, dk, dv}, {v, q, k, v, o, lse}, {true, 0.0});
      }
}

}  // namespace
}  // namespace wellspring
