// The vector form of kernels/numerics.h, compiled once per Highway target: the one file that does
// Highway arithmetic on floats, because it knows where targets differ (design.md section 2).
//   MulAdd  rounds twice on SSE4.
//   Max, Min  of (0, -0) and of NaN differ between x86 and ARM.
// Each function gives the bits of its namesake in numerics.h, lane by lane.

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if !HWY_NATIVE_FMA
// ExactFma of numerics.h on f64 lanes: see there why this is one rounding.
template <class D>  // double
HWY_INLINE hn::Vec<D> SumRoundedToOdd(D d, hn::Vec<D> a, hn::Vec<D> b, hn::Vec<D> addend) {
  const hn::RebindToUnsigned<D> du;
  const auto zero = hn::Zero(d);
  const auto product = hn::Mul(a, b);
  const auto sum = hn::Add(product, addend);
  const auto virtual_addend = hn::Sub(sum, product);
  const auto error = hn::Add(hn::Sub(product, hn::Sub(sum, virtual_addend)),
                             hn::Sub(addend, virtual_addend));
  const auto bits = hn::BitCast(du, sum);
  const auto one = hn::Set(du, 1);
  const auto odd = hn::RebindMask(d, hn::Eq(hn::And(bits, one), one));
  const auto exact = hn::Eq(error, zero);
  // Infinite or NaN: nothing to correct.
  const auto finite = hn::Eq(hn::Sub(sum, sum), zero);
  const auto overshot = hn::Xor(hn::VecFromMask(d, hn::Lt(error, zero)),
                                hn::VecFromMask(d, hn::Le(sum, zero)));
  // bits - 1 where overshot: a mask is all ones, which is -1.
  const auto corrected = hn::Or(hn::Add(bits, hn::BitCast(du, overshot)), one);
  const auto keep = hn::Or(odd, hn::Or(exact, hn::Not(finite)));
  return hn::IfThenElse(keep, sum, hn::BitCast(d, corrected));
}
#endif

// a * b + c, rounded once.
template <class D>  // float
HWY_INLINE hn::Vec<D> Fma(D d, hn::Vec<D> a, hn::Vec<D> b, hn::Vec<D> c) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(a, b, c);
#else
  const hn::Half<D> dh;
  const hn::Rebind<double, decltype(dh)> dd;
  const auto half = [&](auto x, auto y, auto z) HWY_ATTR {
    return hn::DemoteTo(dh, SumRoundedToOdd(dd, hn::PromoteTo(dd, x), hn::PromoteTo(dd, y),
                                            hn::PromoteTo(dd, z)));
  };
  return hn::Combine(d, half(hn::UpperHalf(dh, a), hn::UpperHalf(dh, b), hn::UpperHalf(dh, c)),
                     half(hn::LowerHalf(dh, a), hn::LowerHalf(dh, b), hn::LowerHalf(dh, c)));
#endif
}

// sign * x + c for sign = +-1, rounded once: the product is exact, fused or not.
template <class V>
HWY_INLINE V SignMulAdd(V sign, V x, V c) {
  return hn::MulAdd(sign, x, c);
}

// w * x + c in double where all three are integers below 2^53 in magnitude: exact.
template <class V>
HWY_INLINE V IntegerMulAdd(V w, V x, V c) {
  return hn::MulAdd(w, x, c);
}

template <class V>
HWY_INLINE V Sum(V a, V b) {
  return hn::Add(a, b);
}

template <class V>
HWY_INLINE V Product(V a, V b) {
  return hn::Mul(a, b);
}

// x > low ? x : low, and y < high ? y : high. x86's maximum and minimum are these very selections.
template <class V>
HWY_INLINE V SelectGreater(V x, V low) {
#if HWY_ARCH_X86
  return hn::Max(x, low);
#else
  return hn::IfThenElse(hn::Gt(x, low), x, low);
#endif
}
template <class V>
HWY_INLINE V SelectLess(V y, V high) {
#if HWY_ARCH_X86
  return hn::Min(y, high);
#else
  return hn::IfThenElse(hn::Lt(y, high), y, high);
#endif
}
template <class V>
HWY_INLINE V Clip(V x, V low, V high) {
  return SelectLess(SelectGreater(x, low), high);
}

// The mask of SignBit.
template <class D>
HWY_INLINE hn::Mask<D> SignMask(D d, hn::Vec<D> z) {
  return hn::Ge(z, hn::Zero(d));
}

template <class V>
HWY_INLINE V PRelu(V x, V slope) {
  return hn::IfThenElse(hn::Gt(x, hn::Zero(hn::DFromV<V>())), x, Product(x, slope));
}

// ActivationCode as bytes. The lowest byte of the bits of 0x1.8p23 + code is the code.
template <class D>  // float
HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> ActivationCodes(D d, hn::Vec<D> x,
                                                           hn::Vec<D> inverse_step,
                                                           hn::Vec<D> levels) {
  const hn::RebindToSigned<D> di;
  const auto clipped = Clip(Product(x, inverse_step), hn::Zero(d), levels);
  const auto rounded = hn::BitCast(di, hn::Add(clipped, hn::Set(d, 0x1.8p23f)));
  return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::And(rounded, hn::Set(di, 0xff)));
}

// Integers to float, one rounding, half to even.
template <class D>  // float
HWY_INLINE hn::Vec<D> ToFloat(D d, hn::Vec<hn::RebindToSigned<D>> sums) {
  return hn::ConvertTo(d, sums);
}
template <class D, class V>  // float, from whole numbers in double
HWY_INLINE hn::Vec<D> NarrowToFloat(D d, V sums) {
  return hn::DemoteTo(d, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
