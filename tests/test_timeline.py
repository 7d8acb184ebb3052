"""Python and the GPU on one timeline: who finishes when, by formulas that the loop doesn't know."""

import pytest

from bigmodel_lib.viz.timeline import Timeline, timeline


@pytest.mark.parametrize("kernels, launch, work", [(1, 5.0, 5.0), (6, 7.0, 2.0), (6, 2.0, 7.0), (10, 3.0, 3.0)])
def test_without_waiting_the_slower_of_the_two_sets_the_pace(kernels, launch, work):
    line = Timeline(kernels=kernels, launch=launch, work=work, every=0)
    assert line.microseconds == pytest.approx(launch + work + (kernels - 1) * max(launch, work))
    assert line.busy == pytest.approx(kernels * work / line.microseconds)


@pytest.mark.parametrize("kernels, launch, work", [(1, 5.0, 5.0), (6, 7.0, 2.0), (6, 2.0, 7.0)])
def test_with_item_after_every_kernel_nothing_overlaps(kernels, launch, work):
    line = Timeline(kernels=kernels, launch=launch, work=work, every=1)
    assert line.microseconds == pytest.approx(kernels * (launch + work + launch))


@pytest.mark.parametrize("every", [0, 1, 2, 5])
def test_no_lane_does_two_things_at_once_and_no_kernel_runs_before_it_is_queued(every):
    python, gpu = timeline(7, 4.0, 9.0, every)
    for spans in (python, gpu):
        for (_, begin, long), (_, after, _) in zip(spans, spans[1:], strict=False):
            assert begin + long <= after + 1e-9
    queued = [begin + long for what, begin, long in python if what == "launch"]
    assert all(begin >= end for end, (_, begin, _) in zip(queued, gpu, strict=True)) and len(gpu) == 7
    assert sum(what == "fetch" for what, _, _ in python) == (7 // every if every else 0)
