from __future__ import annotations

import pytest
from trace_override import texts_of, trace


@pytest.mark.slow
def test_trace_names_the_functions_that_see_an_override_in_launcher_and_job() -> None:
    found = trace(["norm=new,batch"])
    assert "SlotLauncher.launch" in found["hydra_plugins/hydra_trainctl/slots.py"]
    assert "Reservation.make" in found["trainctl/attempt/reservation.py"]  # in the job's process


def test_texts_are_the_override_and_those_of_its_jobs() -> None:
    assert list(texts_of(["norm=new,batch", "x=1"])) == ["norm=new,batch", "norm=new", "norm=batch", "x=1"]
