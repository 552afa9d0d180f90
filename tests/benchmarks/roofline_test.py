"""What a program costs, counted by hand."""

from benchmarks.roofline import Cost, Program

_CHIP = 1e9, 1e12, 1e-6  # bytes a second, operations a second, seconds a launch
_TEXT = """HloModule jit_step

%fused (x: f32[10,8,4], i: s32[]) -> f32[8,4] {
  %x = f32[10,8,4]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %slice = f32[1,8,4]{2,1,0} dynamic-slice(%x, %i, %i, %i), dynamic_slice_sizes={1,8,4}
}

%updated (stack: f32[10,8,4], new: f32[1,8,4], at: s32[]) -> f32[10,8,4] {
  %stack = f32[10,8,4]{2,1,0} parameter(0)
  %new = f32[1,8,4]{2,1,0} parameter(1)
  %at = s32[] parameter(2)
  ROOT %put = f32[10,8,4]{2,1,0} dynamic-update-slice(%stack, %new, %at, %at, %at)
}

%body (carry: (s32[], f32[10,8,4], bf16[4,16])) -> (s32[], f32[10,8,4], bf16[4,16]) {
  %carry = (s32[], f32[10,8,4]{2,1,0}, bf16[4,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %all = f32[10,8,4]{2,1,0} get-tuple-element(%carry), index=1
  %w = bf16[4,16]{1,0} get-tuple-element(%carry), index=2
  %one = f32[8,4]{1,0} fusion(%all, %i), kind=kLoop, calls=%fused
  %dot = f32[8,16]{1,0:T(8,128)S(1)} dot(%one, %w), lhs_contracting_dims={1}
  %put = f32[10,8,4]{2,1,0} fusion(%all, %one, %i), kind=kLoop, calls=%updated
  ROOT %next = (s32[], f32[10,8,4]{2,1,0}, bf16[4,16]{1,0}) tuple(%i, %put, %w)
}

%condition (carry: (s32[], f32[10,8,4], bf16[4,16])) -> pred[] {
  %carry = (s32[], f32[10,8,4]{2,1,0}, bf16[4,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %most = s32[] constant(10)
  ROOT %less = pred[] compare(%i, %most), direction=LT
}

ENTRY %main (start: (s32[], f32[10,8,4], bf16[4,16])) -> f32[10,8,4] {
  %start = (s32[], f32[10,8,4], bf16[4,16]) parameter(0)
  %loop = (s32[], f32[10,8,4], bf16[4,16]) while(%start), condition=%condition, body=%body
  ROOT %end = f32[10,8,4]{2,1,0} get-tuple-element(%loop), index=1
}
"""


def test_loops_count_as_often_as_they_turn_and_slices_for_what_they_are():
    cost = Program(_TEXT, _CHIP).cost()
    one, w, index = 8 * 4 * 4, 4 * 16 * 2, 4
    # The slice is read and written; the product reads both and leaves its result in VMEM.
    moved = (2 * one + index) + (one + w) + (2 * one + index)
    assert cost == Cost(30, 10 * moved, 10 * 2 * 8 * 16 * 4, cost.seconds)
    assert abs(cost.seconds - (10 * moved / 1e9 + 30e-6)) < 1e-12
