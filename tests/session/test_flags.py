from __future__ import annotations

from trainctl.session.flags import Flag


def test_flag_is_up_in_the_first_step_in_which_it_is_looked_at_and_in_no_other() -> None:
    flag = Flag()
    assert not flag.look(1)
    flag.put_up()
    assert flag.look(5)
    assert flag.look(5)
    assert flag.seen == 5
    assert not flag.look(6)
    assert not flag.look(5)


def test_flag_that_is_put_up_again_is_up_again() -> None:
    flag = Flag()
    flag.put_up()
    assert flag.look(5)
    flag.put_up()
    assert flag.look(6)
    assert not flag.look(7)


def test_flag_knows_whether_anybody_looks() -> None:
    flag = Flag()
    assert not flag.was_looked_at
    flag.look(1)
    assert flag.was_looked_at
    assert flag.seen is None
