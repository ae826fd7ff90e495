// What the case lists of the shape family cannot say: errors, sharing of storage, forms in place.
#include "ops/shape.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/reduce.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor counting(const Shape& shape, DType dtype = DType::f32) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  return Tensor::from(x, shape, dtype);
}

// The message of the usage error that f throws; empty when it throws none.
template <class F>
std::string complaint(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::usage) << e.what();
    return e.what();
  }
  return "";
}

TEST(Shape, ViewsShareStorageAndSaySo) {
  const Tensor x = counting({4, 6});
  for (const Tensor& y :
       {view(x, {24}), reshape(x, {2, -1}), transpose(x, 0, 1), permute(x, {1, 0}),
        slice(x, 1, 1, 5, 2), narrow(x, 0, 1, 2), select(x, 0, 3), expand(x, {2, 4, 6}),
        unsqueeze(x, 1), squeeze(x), flatten(x), split(x, 3, 1)[1], chunk(x, 2)[0]}) {
    EXPECT_EQ(y.storage(), x.storage());
    EXPECT_TRUE(y.is_view());
  }
  EXPECT_NE(reshape(transpose(x, 0, 1), {24}).storage(), x.storage());
  EXPECT_NE(clone(x).storage(), x.storage());
  EXPECT_TRUE(contiguous(x).same(x));
  EXPECT_TRUE(to(x, DType::f32).same(x));
  EXPECT_TRUE(to(x, Device{}).same(x));
}

TEST(Shape, ViewFindsStridesWhereThereAreSome) {
  const Tensor x = transpose(counting({4, 6}), 0, 1);  // [6, 4], strides 1, 6
  EXPECT_EQ(view(x, {2, 3, 4}).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(view(x, {6, 1, 2, 2, 1}).to_vector<float>(), x.to_vector<float>());
  EXPECT_NE(complaint([&] { view(x, {24}); }).find("use reshape()"), std::string::npos);
  EXPECT_NE(complaint([&] { view(x, {3, 8}); }), "");
}

TEST(Shape, WrongArgumentsAreNamed) {
  const Tensor x = counting({2, 3}), scalar = counting({});
  EXPECT_NE(complaint([&] { view(x, {4, -1}); }).find("[2, 3]"), std::string::npos);
  EXPECT_NE(complaint([&] { view(x, {-1, -1}); }), "");
  EXPECT_NE(complaint([&] { view(x, {7}); }), "");
  EXPECT_NE(complaint([&] {
              view(counting({0}), {0, -1});
            }).find("could be any"),
            std::string::npos);
  EXPECT_NE(complaint([&] { transpose(x, 0, 2); }).find("out of range"), std::string::npos);
  EXPECT_NE(complaint([&] { permute(x, {0, 0}); }).find("twice"), std::string::npos);
  EXPECT_NE(complaint([&] { permute(x, {0}); }), "");
  EXPECT_NE(complaint([&] { slice(x, 0, 0, 2, 0); }).find("step"), std::string::npos);
  EXPECT_NE(complaint([&] { slice(scalar, 0, 0, 1); }), "");
  EXPECT_NE(complaint([&] { narrow(x, 1, 2, 2); }).find("out of range"), std::string::npos);
  EXPECT_NE(complaint([&] { narrow(x, 1, 0, INT64_MAX); }), "");
  EXPECT_NE(complaint([&] { select(x, 0, 2); }), "");
  EXPECT_NE(complaint([&] { expand(x, {4, 3}); }), "");
  EXPECT_NE(complaint([&] { expand(x, {3}); }), "");
  EXPECT_NE(complaint([&] { unsqueeze(x, 3); }), "");
  EXPECT_NE(complaint([&] { flatten(x, 1, 0); }), "");
  EXPECT_NE(complaint([&] { split(x, 0); }), "");
  EXPECT_NE(complaint([&] { split(x, std::vector<int64_t>{1, 2}, 0); }), "");
  EXPECT_NE(complaint([&] { split(x, std::vector<int64_t>{1}, 0); }), "");
  EXPECT_NE(complaint([&] { chunk(x, 0); }), "");
  EXPECT_NE(complaint([&] { sum_to(x, {2, 2}); }), "");
  EXPECT_NE(complaint([&] { sum_to(x, {1, 2, 3}); }), "");
  EXPECT_NE(complaint([&] { cat(Tensors{}); }), "");
  EXPECT_NE(complaint([&] {
              cat(Tensors{x, counting({3, 2})});
            }).find("f32[3, 2]"),
            std::string::npos);
  EXPECT_EQ(cat(Tensors{x, to(x, DType::bf16)}).dtype(), x.dtype());
  EXPECT_NE(complaint([&] { cat(Tensors{x, Tensor::zeros({2, 3}, DType::c64)}); }), "");
  EXPECT_NE(complaint([&] { cat(Tensors{scalar}); }).find("stack"), std::string::npos);
  EXPECT_NE(complaint([&] { stack(Tensors{x, scalar}); }), "");
  EXPECT_NE(complaint([&] { copy_(x, counting({3, 3})); }), "");
  EXPECT_NE(complaint([&] { to(Tensor::empty({2}, DType::c64), DType::f32); }), "");
}

TEST(Shape, InPlaceFollowsTheRules) {
  const Tensor leaf = counting({2, 3});
  leaf.set_requires_grad(true);
  EXPECT_NE(complaint([&] { zero_(leaf); }).find("leaf"), std::string::npos);
  EXPECT_NE(complaint([&] { fill_(select(leaf, 0, 1), 2); }).find("view"), std::string::npos);
  const Tensor base = counting({2, 3});
  EXPECT_NE(complaint([&] { copy_(narrow(base, 0, 0, 1), narrow(leaf, 0, 0, 1)); }).find("view"),
            std::string::npos);
  EXPECT_NE(complaint([&] { fill_(expand(counting({1}), {4}), 1); }).find("share memory"),
            std::string::npos);
  {
    NoGrad none;
    const uint32_t before = leaf.version();
    fill_(select(leaf, 0, 1), 2);
    EXPECT_GT(leaf.version(), before);
    EXPECT_EQ(leaf.to_vector<float>(), (std::vector<float>{0, 1, 2, 2, 2, 2}));
  }
  // What a tensor was before it was overwritten gets no gradient; what it was overwritten with
  // does.
  const Tensor kept = clone(leaf), source = counting({3});
  source.set_requires_grad(true);
  copy_(kept, source);
  backward(sum(kept));
  EXPECT_FALSE(leaf.grad().defined());
  EXPECT_EQ(source.grad().to_vector<float>(), (std::vector<float>{2, 2, 2}));
}

TEST(Shape, ALeafOwnsItsGradient) {
  const Tensor x = counting({2, 3});
  x.set_requires_grad(true);
  backward(sum(x));  // an expanded gradient
  const Tensor grad = x.grad();
  EXPECT_TRUE(grad.is_contiguous());
  fill_(select(grad, 0, 0), 5);
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{5, 5, 5, 1, 1, 1}));
}

TEST(Shape, CopiesWhereSourceAndTargetOverlap) {
  const Tensor x = counting({6});
  copy_(narrow(x, 0, 1, 5), narrow(x, 0, 0, 5));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 0, 1, 2, 3, 4}));
  copy_(x, slice(x, 0, 0, 1));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>(6, 0)));
}

TEST(Shape, IntegersKeepEveryBit) {
  const int64_t big = (int64_t{1} << 62) + 1;
  const Tensor x = Tensor::from(std::vector<int64_t>{big, -big, 300}, {3});
  EXPECT_EQ(clone(transpose(unsqueeze(x, 0), 0, 1)).to_vector<int64_t>(),
            (std::vector<int64_t>{big, -big, 300}));
  EXPECT_EQ(to(x, DType::u8).to_vector<int64_t>(), (std::vector<int64_t>{1, 255, 44}));
  EXPECT_EQ(sum(to(x, DType::boolean)).item(), 3);
}

TEST(Shape, NarrowFromATensor) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {4});
  const std::vector<int64_t> one{1};
  EXPECT_EQ(narrow(x, 0, Tensor::from(std::span<const int64_t>(one), {}), 2).to_vector<float>(),
            (std::vector<float>{2, 3}));
  EXPECT_THROW(narrow(x, 0, x, 2), Error);
  const Tensor turned = Tensor::zeros({2, 3});
  EXPECT_EQ(transpose_(turned, 0, 1).shape(), (Shape{3, 2}));
  EXPECT_EQ(turned.strides(), (Shape{1, 3}));
}

}  // namespace
}  // namespace wellspring
