#include "tensor/autograd.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/test_error.h"

namespace wellspring {
namespace {

Tensor row(std::vector<float> values, DType dtype = DType::f32) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, dtype);
}
Tensor leaf(std::vector<float> values, DType dtype = DType::f32) {
  return row(std::move(values), dtype).set_requires_grad(true);
}
std::vector<float> grad_of(const Tensor& t) { return t.grad().to_vector<float>(); }

Tensor scaled(const Tensor& x, float factor, DType dtype) {
  std::vector<float> v = x.to_vector<float>();
  for (float& e : v) e *= factor;
  return Tensor::from(v, x.shape(), dtype);
}

thread_local int runs = 0;  // of the backward of times()

// An operator of our own: y = factor * x. Its gradient has `grad_dtype`.
Tensor times(const Tensor& x, float factor, DType grad_dtype = DType::f32) {
  Tensor y = scaled(x, factor, x.dtype());
  if (should_record({&x}))
    record("times", {x}, {y}, [factor, grad_dtype](BackwardContext& c) -> Tensors {
      ++runs;
      return {scaled(c.grad(), factor, grad_dtype)};
    });
  return y;
}

// y = a + b. Passes its gradient on as it is, twice.
Tensor plus(const Tensor& a, const Tensor& b) {
  std::vector<float> u = a.to_vector<float>(), v = b.to_vector<float>();
  for (size_t i = 0; i < u.size(); ++i) u[i] += v[i];
  Tensor y = Tensor::from(u, a.shape());
  if (should_record({&a, &b}))
    record("plus", {a, b}, {y}, [](BackwardContext& c) -> Tensors { return {c.grad(), c.grad()}; });
  return y;
}

// y = x * x, which needs x again.
Tensor square(const Tensor& x) {
  std::vector<float> v = x.to_vector<float>();
  for (float& e : v) e *= e;
  Tensor y = Tensor::from(v, x.shape());
  record("square", {x}, {y}, [kept = Saved(x)](BackwardContext& c) -> Tensors {
    std::vector<float> g = c.grad().to_vector<float>(), v = c.saved(kept).to_vector<float>();
    for (size_t i = 0; i < g.size(); ++i) g[i] *= 2 * v[i];
    return {Tensor::from(g, c.grad().shape())};
  });
  return y;
}

#define EXPECT_SAYS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "'" << (text) << "' lacks '" << (part) << "'"

// First in the program: the kernels that sum gradients must not have been looked up before. Both
// threads come to their first sum at the same moment, which is when they would be.
TEST(Autograd, TwoThreadsWithAGraphEach) {
  std::atomic<int> arrived{0};  // spun on: whoever slept would come too late
  auto work = [&] {
    for (int i = 0; i < 20; ++i) {
      Tensor x = leaf({1, 2}), y = row({3, 6});
      record("shared", {x, x}, {y}, [&arrived, i](BackwardContext& c) -> Tensors {
        Tensor g = row({2, 1});
        for (++arrived; arrived < 2 * (i + 1);) continue;
        return {g, g};
      });
      backward(y, row({1, 1}));
      EXPECT_EQ(grad_of(x), (std::vector<float>{4, 2}));
    }
  };
  std::thread one(work), two(work);
  one.join(), two.join();
}

TEST(Autograd, SecondBackwardNeedsTheGraph) {
  Tensor x = leaf({3}), y = times(times(x, 2), 5);
  backward(y, {}, /*retain_graph=*/true);
  EXPECT_EQ(grad_of(x), std::vector<float>{10});
  backward(y);
  EXPECT_EQ(grad_of(x), std::vector<float>{20});
  std::string why = error_of([&] { backward(y); });
  EXPECT_SAYS(why, "times");
  EXPECT_SAYS(why, "its graph was freed");
  EXPECT_SAYS(why, "retain_graph");
  EXPECT_SAYS(error_of([&] { backward(times(y, 2)); }),
              "its graph was freed");  // deeper down as well
  EXPECT_EQ(grad_of(x), std::vector<float>{20});
}

TEST(Autograd, NoGradScopes) {
  Tensor x = leaf({1});
  {
    NoGrad outer;
    EXPECT_FALSE(grad_enabled());
    { NoGrad inner; }
    EXPECT_FALSE(grad_enabled()) << "an inner scope ended the outer one";
    EXPECT_FALSE(times(x, 2).requires_grad());
    std::thread([&] { EXPECT_TRUE(grad_enabled()) << "the scope is of one thread"; }).join();
  }
  try {
    NoGrad scope;
    throw 1;
  } catch (int) {
  }
  EXPECT_TRUE(times(x, 2).requires_grad());
  EXPECT_FALSE(times(x.detach(), 2).requires_grad());
}

TEST(Autograd, DiamondsRunEachOperatorOnce) {
  Tensor x = leaf({1, 2}), middle = times(x, 2);
  Tensor y = plus(plus(times(middle, 3), times(middle, 5)), middle);
  runs = 0;
  backward(y, row({1, 10}));
  EXPECT_EQ(grad_of(x), (std::vector<float>{18, 180}));
  EXPECT_EQ(runs, 3);
}

TEST(Autograd, LeavesAccumulateAndShareWithNobody) {
  Tensor x = leaf({1, 2}), seed = row({1, 1});
  backward(x, seed);  // the leaf itself: its gradient is the seed's values, not its memory
  seed.data_as<float>()[0] = 99;
  EXPECT_EQ(grad_of(x), (std::vector<float>{1, 1}));
  Tensor held = x.grad();
  backward(times(x, 4), row({1, 1}));
  EXPECT_EQ(grad_of(x), (std::vector<float>{5, 5}));
  EXPECT_EQ(held.to_vector<float>(), (std::vector<float>{1, 1})) << "changed under its holder";
  Tensor a = leaf({1}), b = leaf({1});
  backward(plus(a, b));  // one gradient for two leaves
  backward(times(a, 2));
  EXPECT_EQ(grad_of(a), std::vector<float>{3});
  EXPECT_EQ(grad_of(b), std::vector<float>{1});
  a.set_grad({});
  EXPECT_FALSE(a.grad().defined());
  EXPECT_SAYS(error_of([&] { a.set_grad(row({1, 2})); }), "does not fit");
}

TEST(Autograd, NarrowerGradientsWiden) {
  Tensor x = leaf({1}, DType::bf16);
  backward(times(x, 256, DType::bf16));
  EXPECT_EQ(x.grad().dtype(), DType::bf16);
  backward(times(x, 1));  // in f32; bf16 has no 257
  EXPECT_EQ(x.grad().dtype(), DType::f32);
  backward(times(x, 1, DType::bf16));
  EXPECT_EQ(grad_of(x), std::vector<float>{258});
}

TEST(Autograd, SavedValuesMustNotChange) {
  Tensor x = leaf({1, 2, 3}), middle = times(x, 1), y = square(middle);
  middle.as_strided({1}, {1}, 2).changed();  // through a view
  std::string why = error_of([&] { backward(y, row({1, 1, 1})); });
  EXPECT_SAYS(why, "backward of square");
  EXPECT_SAYS(why, "changed in place");
  EXPECT_SAYS(why, "clone()");
  Tensor again = times(x, 1), z = square(again);
  mark_in_place("add_", again, false);
  error_of([&] { backward(z, row({1, 1, 1})); });
  backward(square(times(x, 1)), row({1, 1, 1}));
  EXPECT_EQ(grad_of(x), (std::vector<float>{2, 4, 6}));
}

TEST(Autograd, GuardsOfChangesInPlace) {
  Tensor x = leaf({1, 2});
  EXPECT_SAYS(error_of([&] { mark_in_place("add_", x, true); }), "a leaf that requires a gradient");
  {
    NoGrad scope;
    const uint32_t before = x.version();
    mark_in_place("add_", x, false);
    EXPECT_EQ(x.version(), before + 1);
  }
  Tensor base = times(x, 1), view = base.as_strided({1}, {1}, 0);
  EXPECT_SAYS(error_of([&] { mark_in_place("add_", view, true); }), "a view");
}

TEST(Autograd, LeavesAreFloatingAndOurOwn) {
  EXPECT_SAYS(error_of([] { Tensor::zeros({2}, DType::i32).set_requires_grad(true); }), "i32[2]");
  EXPECT_SAYS(error_of([] { Tensor::zeros({2}, DType::boolean).set_requires_grad(true); }),
              "floating");
  Tensor x = leaf({1}), y = times(x, 2);
  EXPECT_TRUE(x.is_leaf());
  EXPECT_FALSE(y.is_leaf());
  EXPECT_SAYS(error_of([&] { y.set_requires_grad(false); }), "detach()");
  x.set_requires_grad(false);
  EXPECT_FALSE(times(x, 2).requires_grad());
}

TEST(Autograd, SeedsFit) {
  Tensor x = leaf({1, 2}), y = times(x, 2);
  EXPECT_SAYS(error_of([&] { backward(y); }), "needs a gradient of that shape");
  EXPECT_SAYS(error_of([&] { backward(y, row({1})); }), "does not fit");
  EXPECT_SAYS(error_of([&] { backward(row({1})); }), "no gradient history");
  backward(y, row({1, 1}));  // none of these has freed the graph
  EXPECT_EQ(grad_of(x), (std::vector<float>{2, 2}));
}

TEST(Autograd, BackwardOfAnOperatorIsChecked) {
  auto broken = [](Tensors results) {
    Tensor x = leaf({1, 2}), y = row({1, 2});
    record("broken", {x}, {y}, [results](BackwardContext&) { return results; });
    return error_of([&] { backward(y, row({1, 1})); }, Fault::internal);
  };
  EXPECT_SAYS(broken({}), "0 gradients for 1 inputs");
  EXPECT_SAYS(broken({row({1})}), "for input 0 of shape [2]");
  // An output that nothing flowed into has no gradient; an undefined result stops there.
  Tensor x = leaf({1}), a = row({1}), b = row({1});
  bool ran = false;
  record("two", {x}, {a, b}, [&ran](BackwardContext& c) -> Tensors {
    EXPECT_TRUE(c.grads[0].defined());
    EXPECT_FALSE(c.grads[1].defined());
    EXPECT_TRUE(c.needs(0));
    ran = true;
    return {Tensor()};
  });
  backward(a);
  EXPECT_TRUE(ran);
  EXPECT_FALSE(x.grad().defined());
}

// Each node holds the next: destroyed one inside another they would need a stack of a million
// frames.
TEST(Autograd, MillionOperatorsDeep) {
  Tensor x = leaf({1}), y = x;
  for (int i = 0; i < 1'000'000; ++i) {
    Tensor next = y.detach();
    record("same", {y}, {next}, [](BackwardContext& c) -> Tensors { return {c.grad()}; });
    y = next;
  }
  Tensor again = y.detach();
  record("same", {y}, {again}, [](BackwardContext& c) -> Tensors { return {c.grad()}; });
  y = {};
  backward(again, {}, /*retain_graph=*/true);
  EXPECT_EQ(grad_of(x), std::vector<float>{1});
  again = {};
}

}  // namespace
}  // namespace wellspring
