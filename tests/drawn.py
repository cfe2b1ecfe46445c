"""How many examples a property is tried with: few where somebody waits for the answer, many at night."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

FEW, MANY = "few", "many"  # profiles: `pytest --hypothesis-profile=many`
_EXAMPLES = {FEW: 50, MANY: 2_000}

for _name, _count in _EXAMPLES.items():  # a busy machine makes any one example slow; the test's timeout is the guard
    settings.register_profile(_name, max_examples=_count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def examples(few: int, many: int | None = None) -> int:
    """Return how many examples a dear test draws: `few`, and at night `many` or in proportion more."""
    if settings.default.max_examples < _EXAMPLES[MANY]:
        return few
    return few * _EXAMPLES[MANY] // _EXAMPLES[FEW] if many is None else many
