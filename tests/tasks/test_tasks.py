"""Tasks: their labels, what cannot be one, and how they are drawn."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

import leep_jax
from leep_jax import tasks
from leep_jax.tasks import specs

LABELS = np.array([7, 3, 3, 9, 7, 9])

# Ten classes in both sets, one only in training (10), one only in test (11).
TRAIN = np.random.default_rng(1).permutation(np.arange(440) % 11)
TEST = np.random.default_rng(2).permutation(
  np.r_[np.arange(200) % 10, np.full(20, 11)]
)
BOTH = set(range(10))
SAMPLERS = {
  "all": "all",
  "subsets": "subsets(count=30)",
  "small": "small(count=30,classes=5,examples=20)",
  "imbalanced": "imbalanced(count=30,minority=3..8)",
  "label_noise": "label_noise(count=30,classes=3,examples=20,fraction=0..0.5)",
  "examples_curve": "examples_curve(count=30,classes=3,examples=1..12)",
  "few_shot": "few_shot(count=30,classes=5,examples=8)",
}
each_sampler = pytest.mark.parametrize("name", SAMPLERS)


def draw(spec, seed=0):
  return tasks.parse(spec, TRAIN, TEST, seed=seed)


def per_class(task, labels, places):
  """How many examples it has of each of its classes, in their order."""
  own = task.labels(labels, places)
  return np.bincount(own, minlength=len(task.classes)).tolist()


def same(a, b):
  return (
    (a.name, a.classes, a.spec, a.seed, a.index, a.drawn, a.one_set)
    == (b.name, b.classes, b.spec, b.seed, b.index, b.drawn, b.one_set)
    and np.array_equal(a.train, b.train)
    and np.array_equal(a.test, b.test)
    and (a.noisy is None) == (b.noisy is None)
    and (a.noisy is None or np.array_equal(a.noisy, b.noisy))
  )


def task(classes=(9, 3), train=(1, 2, 3), test=(2, 5), **fields):
  return tasks.Task(
    "t", tuple(classes), np.array(train), np.array(test), **fields
  )


def test_every_sampler_is_tried():
  assert set(SAMPLERS) == set(tasks.SAMPLERS)


@each_sampler
def test_text_to_sampler_and_back(name):
  sampler, _ = specs.sampler_of(SAMPLERS[name])
  assert specs.sampler_of(specs.spec_of(sampler)) == (
    sampler,
    sampler.default_count,
  )
  assert draw(SAMPLERS[name])[0].spec == specs.spec_of(
    sampler if name != "subsets" else tasks.Subsets(classes=(2, 10))
  )


def test_labels_are_places_among_the_classes():
  assert task().labels(LABELS, np.array([3, 1, 5])).tolist() == [0, 1, 0]


def test_the_task_of_all_examples():
  everything = tasks.all_examples(LABELS, LABELS[:2])
  assert everything.classes == (3, 7, 9)
  assert everything.labels(LABELS, everything.train).tolist() == [
    1, 0, 0, 2, 1, 2,
  ]  # fmt: skip
  assert everything.test.tolist() == [0, 1]


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    (task(train=()), "has no training examples"),
    (task(test=()), "has no test examples"),
    (task(test=(6,)), "names test example 6, but there are 6"),
    (task(train=(0, 1)), "example 0 is of class 7, which is none of its 2"),
    (task(test=(0,)), "class 7.*does the test set have classes that training"),
    (task(train=(1, 2)), "has one class in training: a classifier needs two"),
    (
      task(classes=(9, 3, 7), test=(0,)),
      "tested on class 7, of which it has no training example",
    ),
    (
      task(noisy=np.array([1, 0])),
      "has 2 noisy labels of 3 training examples",
    ),
    (task(noisy=np.array([0, 1, 2])), "noisy labels 0 to 2, but its own are 0"),
    (task(noisy=np.array([1, 1, 1])), "has one class in training"),
    (
      task(one_set=True),
      "tested on 1 of its training examples, the first of them 2",
    ),
  ],
)
def test_tasks_that_cannot_be_trained(bad, message):
  with pytest.raises(leep_jax.InputError, match=message):
    tasks.check([bad], LABELS, LABELS)


def test_no_tasks():
  with pytest.raises(leep_jax.InputError, match="there are no tasks"):
    tasks.check([], LABELS, LABELS)


def test_tasks_within_the_test_set_need_it_twice():
  (one,) = draw("few_shot(count=1,examples=8)")
  tasks.check([one], TEST, TEST)
  with pytest.raises(leep_jax.InputError, match="pass the test set for both"):
    tasks.check([one], TRAIN, TEST)


@each_sampler
def test_a_task_is_a_function_of_its_seed_and_number(name):
  spec = SAMPLERS[name]
  drawn = draw(spec, seed=7)
  again = draw(spec, seed=7)
  assert all(map(same, drawn, again))
  if name == "all":
    return
  assert len(drawn) == 30
  fewer = draw(spec.replace("count=30", "count=8"), seed=7)
  assert len(fewer) == 8
  assert all(map(same, drawn, fewer))
  other = draw(spec, seed=8)
  assert not any(
    np.array_equal(a.train, b.train)
    for a, b in zip(drawn, other, strict=True)
    if len(a.classes) < 10  # all classes are one subset
  )


@each_sampler
def test_drawn_tasks_can_be_trained(name):
  # `all` takes the sets as they are, so they must have the same classes.
  test = TEST % 11 if name == "all" else TEST
  drawn = tasks.parse(SAMPLERS[name], TRAIN, test, seed=0)
  for one in drawn:
    train = test if one.one_set else TRAIN
    tasks.check([one], train, test)
    for places in (one.train, one.test):
      assert places.dtype == np.int32
      assert np.all(np.diff(places) > 0)  # ascending, none twice
    if one.noisy is None:
      assert np.array_equal(
        one.train_labels(train), one.labels(train, one.train)
      )
    assert np.array_equal(one.test_labels(test), one.labels(test, one.test))
    if one.one_set:
      assert not set(one.train) & set(one.test)
    else:
      assert set(one.test) == set(np.flatnonzero(np.isin(test, one.classes)))
      assert set(one.classes) <= set(TRAIN) & set(test) or name == "all"
  assert len({one.name for one in drawn}) == len(drawn)


@each_sampler
def test_a_row_is_enough_to_draw_a_task_again(name):
  drawn = draw(SAMPLERS[name], seed=3)
  for one in drawn[::7]:
    row = json.loads(json.dumps({"model": "m", **one.row()}, allow_nan=False))
    assert same(tasks.from_row(row, TRAIN, TEST), one)


def test_a_row_in_full():
  one = tasks.draw(
    tasks.Imbalanced(minority=(4, 4)), TRAIN, TEST, count=3, seed=5
  )[2]
  row = one.row()
  assert len(row.pop("task_checksum")) == 8
  assert row == {
    "task": "imbalanced(minority=4,ratio=5)#2",
    "sampler": "imbalanced(minority=4,ratio=5)",
    "task_seed": 5,
    "task_index": 2,
    "num_classes": 2,
    "classes": list(one.classes),
    "train_examples": 24,
    "test_examples": 40,
    "minority": 4,
    "majority": 20,
  }


def test_rows_that_are_no_tasks():
  (one,) = draw("small(count=1,examples=20)")
  row = one.row()
  with pytest.raises(leep_jax.InputError, match="turns out another one"):
    tasks.from_row(row, TRAIN[::-1], TEST)
  with pytest.raises(leep_jax.InputError, match="#0: class 0 has 4 examples"):
    tasks.from_row(row, TRAIN[np.sort(np.argsort(TRAIN)[36:])], TEST)
  with pytest.raises(leep_jax.InputError, match="no sampler drew task t"):
    tasks.from_row(task().row(), TRAIN, TEST)
  with pytest.raises(leep_jax.InputError, match="lacks 'task_index'"):
    tasks.from_row(
      {k: v for k, v in row.items() if k != "task_index"}, TRAIN, TEST
    )
  with pytest.raises(leep_jax.InputError, match="task_index is -1"):
    tasks.from_row({**row, "task_index": -1}, TRAIN, TEST)


def test_checksum_sees_every_part():
  found = {
    one.row()["task_checksum"]
    for one in (
      task(),
      task(classes=(3, 9)),
      task(train=(1, 2), test=(3, 2, 5)),
      task(test=(2,)),
      task(noisy=np.array([0, 0, 1])),
    )
  }
  assert len(found) == 5


def test_functions_draw_what_their_text_does():
  for drawn, spec in (
    (
      tasks.draw(tasks.Subsets(classes=(3, 6)), TRAIN, TEST, count=4, seed=2),
      "subsets(count=4,classes=3..6)",
    ),
    (
      tasks.draw(
        tasks.Small(classes=2, examples=9), TRAIN, TEST, count=4, seed=2
      ),
      "small(count=4, examples=9, classes=2)",
    ),
    (
      tasks.draw(
        tasks.Imbalanced(minority=(2, 4), ratio=3), TRAIN, TEST, count=4, seed=2
      ),
      "imbalanced(minority=2..4,ratio=3,count=4)",
    ),
    (
      tasks.draw(
        tasks.LabelNoise(examples=9, fraction=[0, 0.25]),
        TRAIN,
        TEST,
        count=4,
        seed=2,
      ),
      " label_noise ( count=4 , examples=9, fraction=[0, 0.25] )",
    ),
    (
      tasks.draw(
        tasks.ExamplesCurve(examples=[2, 5]), TRAIN, TEST, count=4, seed=2
      ),
      "examples_curve(count=4,examples=[2,5])",
    ),
    (
      tasks.draw(tasks.FewShot(examples=6), TEST, TEST, count=4, seed=2),
      "few_shot(count=4,examples=6)",
    ),
  ):
    assert all(map(same, drawn, draw(spec, seed=2)))


def test_subsets_have_all_examples_of_their_classes():
  for one in tasks.draw(
    tasks.Subsets(classes=(2, 9)), TRAIN, TEST, count=20, seed=0
  ):
    assert 2 <= len(one.classes) <= 9
    assert set(one.train) == set(np.flatnonzero(np.isin(TRAIN, one.classes)))


def test_sizes_and_classes_of_subsets_are_uniform():
  drawn = tasks.draw(tasks.Subsets(), TRAIN, TEST, count=1800, seed=0)
  sizes = np.bincount([len(one.classes) for one in drawn], minlength=11)
  assert not sizes[:2].any()
  assert stats.chisquare(sizes[2:]).pvalue > 0.01  # 9 sizes, 200 of each
  pairs = [one.classes for one in drawn if len(one.classes) == 2]
  counts = np.bincount(np.ravel(pairs), minlength=10)
  assert stats.chisquare(counts).pvalue > 0.01


def test_small_has_so_many_examples_of_each_class():
  for one in tasks.draw(
    tasks.Small(classes=4, examples=13), TRAIN, TEST, count=20, seed=0
  ):
    assert per_class(one, TRAIN, one.train) == [13] * 4


def test_every_example_is_drawn_as_often():
  drawn = tasks.draw(
    tasks.Small(classes=5, examples=10), TRAIN, TEST, count=800, seed=0
  )
  counts = np.bincount(np.concatenate([one.train for one in drawn]))
  counts = counts[np.isin(TRAIN[: len(counts)], list(BOTH))]
  # 800 x 5 x 10 / 400 = 100 each. A task has one with probability 1/8, so the
  # variance is 800 x 1/8 x 7/8 = 87.5.
  assert counts.mean() == 100
  assert counts.var() == pytest.approx(87.5, rel=0.25)


def test_the_smaller_class_is_the_positive_one():
  drawn = tasks.draw(
    tasks.Imbalanced(minority=(4, 8)), TRAIN, TEST, count=500, seed=0
  )
  sizes = []
  for one in drawn:
    majority, minority = per_class(one, TRAIN, one.train)
    assert majority == 5 * minority == one.drawn["majority"]
    sizes.append(minority)
  counts = np.bincount(sizes, minlength=9)
  assert not counts[:4].any()
  assert stats.chisquare(counts[4:]).pvalue > 0.01
  # Either of two classes may be the smaller.
  assert 180 < sum(one.classes[1] > one.classes[0] for one in drawn) < 320


@pytest.mark.parametrize("fraction", [0, 0.01, 0.125, 1 / 3, 0.5, 1])
def test_noise_replaces_so_many_labels(fraction):
  for one in tasks.draw(
    tasks.LabelNoise(classes=3, examples=20, fraction=fraction),
    TRAIN,
    TEST,
    count=5,
    seed=0,
  ):
    clean = one.labels(TRAIN, one.train)
    noisy = one.train_labels(TRAIN)
    assert noisy.dtype == np.int32
    assert set(noisy) <= {0, 1, 2}
    assert np.sum(noisy != clean) == round(fraction * 60)
    assert one.drawn["noise"] == round(fraction * 60) / 60


def test_other_classes_are_as_likely_in_noise():
  counts = np.zeros((3, 3))
  for one in tasks.draw(
    tasks.LabelNoise(classes=3, examples=20, fraction=1),
    TRAIN,
    TEST,
    count=100,
    seed=0,
  ):
    clean = one.labels(TRAIN, one.train)
    np.add.at(counts, (clean, one.noisy), 1)
  assert not np.diag(counts).any()
  wrong = counts[~np.eye(3, dtype=bool)].reshape(3, 2)
  assert stats.chisquare(wrong, axis=1).pvalue.min() > 0.01


def test_noise_is_on_the_small_tasks():
  clean = tasks.draw(
    tasks.Small(classes=3, examples=20), TRAIN, TEST, count=5, seed=4
  )
  noisy = tasks.draw(
    tasks.LabelNoise(classes=3, examples=20), TRAIN, TEST, count=5, seed=4
  )
  for a, b in zip(clean, noisy, strict=True):
    assert a.classes == b.classes
    assert np.array_equal(a.train, b.train)


def test_fractions_are_spread_over_the_tasks():
  def fractions(count, **fields):
    sampler = tasks.LabelNoise(classes=4, examples=40, **fields)
    drawn = tasks.draw(sampler, TRAIN, TEST, count=count, seed=0)
    return [one.drawn["noise"] for one in drawn]

  # The ends, the half, quarters, eighths: of 0.8, each a multiple of 1/160.
  assert fractions(count=9, fraction=(0.0, 0.8)) == pytest.approx(
    [0, 0.8, 0.4, 0.2, 0.6, 0.1, 0.5, 0.3, 0.7]
  )
  assert fractions(count=5, fraction=[0.1, 0.3]) == [0.1, 0.3, 0.1, 0.3, 0.1]


def test_curves_are_nested():
  drawn = tasks.draw(
    tasks.ExamplesCurve(classes=3, examples=(1, 12)),
    TRAIN,
    TEST,
    count=24,
    seed=0,
  )
  for curve in drawn[:12], drawn[12:]:
    curve = sorted(curve, key=lambda one: len(one.train))
    assert len({one.classes for one in curve}) == 1
    for size, one in enumerate(curve, start=1):
      assert per_class(one, TRAIN, one.train) == [size] * 3
      assert one.drawn["examples_per_class"] == size
    for less, more in itertools.pairwise(curve):
      assert set(less.train) < set(more.train)
      assert np.array_equal(less.test, more.test)
  assert drawn[0].classes != drawn[12].classes
  few = [one.drawn["examples_per_class"] for one in drawn[:5]]
  assert few == [1, 12, 6, 4, 9]  # 1 + 11 x 1/2, 1/4, 3/4, rounded


@pytest.mark.parametrize("most", [1, 2, 3, 17, 33, 40])
def test_a_curve_takes_every_size_once(most):
  drawn = tasks.draw(
    tasks.ExamplesCurve(examples=(1, most)), TRAIN, TEST, count=most, seed=0
  )
  sizes = {one.drawn["examples_per_class"] for one in drawn}
  assert sizes == set(range(1, most + 1))


def test_few_shot_tests_on_the_others():
  for one in tasks.draw(
    tasks.FewShot(classes=4, examples=8), TEST, TEST, count=10, seed=0
  ):
    assert one.one_set
    assert per_class(one, TEST, one.train) == [8] * 4
    both = np.union1d(one.train, one.test)
    assert set(both) == set(np.flatnonzero(np.isin(TEST, one.classes)))


def test_few_shot_among_some_classes():
  among = draw("few_shot(count=20,classes=3,examples=8,among=4..7)")
  assert {c for one in among for c in one.classes} == {4, 5, 6, 7}
  row = among[7].row()
  assert row["sampler"] == "few_shot(classes=3,examples=8,among=4..7)"
  assert same(tasks.from_row(row, TRAIN, TEST), among[7])
  # What is not asked for is not stated: older rows keep their keys.
  (plain,) = draw("few_shot(count=1,classes=3,examples=8)")
  assert plain.row()["sampler"] == "few_shot(classes=3,examples=8)"
  # Classes that are left out may have few examples, and labels may have gaps.
  labels = np.array([0, 2, 2, 2, 5, 5, 5])
  (one,) = tasks.draw(
    tasks.FewShot(classes=2, examples=2, among=(1, 9)),
    labels, labels, count=1, seed=0,
  )  # fmt: skip
  assert one.classes == (2, 5)


def test_samplers_in_one_line():
  drawn = draw("small(count=2,examples=5) + all; few_shot(count=1,examples=5)")
  assert [one.name for one in drawn] == [
    "small(classes=5,examples=5)#0",
    "small(classes=5,examples=5)#1",
    "all",
    "few_shot(classes=5,examples=5)#0",
  ]


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("", "tasks '': expected a sampler"),
    ("all+", "tasks '': expected a sampler"),
    ("small(classes=5", r"'small\(classes=5': expected a sampler"),
    ("smal", "unknown sampler 'smal'; did you mean small"),
    ("subsets(clases=3)", "argument of subsets 'clases'; did you mean classes"),
    ("subsets(seed=3)", "unknown argument of subsets 'seed'"),
    ("small(classes)", "'classes' is not argument=value"),
    ("small(classes=3,,)", "'' is not argument=value"),
    ("small(classes=few)", "classes is 'few', but must be a number, a range"),
    ("small(classes=3..)", "classes is '3..', but must be a number, a range"),
    ("small(classes=3,classes=4)", "classes is given twice"),
    ("small(examples=5)+small(count=9,examples=5)", "is asked for twice"),
    ("all(count=3)", "all takes no arguments, but has count=3"),
    ("subsets(count=0)", "count is 0, but must be an integer from 1"),
    ("subsets(classes=9..2)", "classes is 9..2: is the range upside down"),
    ("subsets(classes=1..2)", "classes is 1, but must be an integer from 2"),
    ("subsets(classes=2..11)", "classes is 2..11, but the number.*is 10"),
    ("small(classes=11,examples=5)", "classes is 11, but the number.*is 10"),
    ("small(classes=2..3)", "classes is 2..3, but must be an integer from 2"),
    ("small(examples=41)", "class 0 has 40 examples to draw from, but 41"),
    ("small(examples=2.5)", "examples is 2.5, but must be an integer from 1"),
    ("imbalanced(minority=3..9)", "has 40 examples.*but 9 x 5 = 45 are needed"),
    ("imbalanced(minority=[3,4])", r"minority is \[3,4\], but must be an"),
    ("imbalanced(minority=3..5,ratio=0)", "ratio is 0, but must be"),
    ("label_noise(examples=9,fraction=1.5)", "fraction is 1.5, but must be"),
    ("label_noise(examples=9,fraction=0..nan)", "fraction is nan, but must be"),
    ("label_noise(examples=9,fraction=0.5..0)", "is the range upside down"),
    ("examples_curve(examples=0..9)", "examples is 0, but must be an integer"),
    ("examples_curve(examples=1..41)", "has 40 examples.*but 41 are needed"),
    ("few_shot(examples=20)", "but 20 and one to test on are needed"),
    ("few_shot(among=0..3,examples=5)", "classes is 5, but the number.*is 4"),
    ("few_shot(among=40..50,examples=5)", "classes is 5, but.*is 0"),
    ("few_shot(among=7..3)", "among is 7..3: is the range upside down"),
    ("few_shot(among=[3,7])", r"among is \[3,7\], but must be an integer"),
  ],
)
def test_what_cannot_be_drawn(spec, message):
  with pytest.raises(leep_jax.InputError, match=message) as caught:
    draw(spec)
  assert "\n" not in str(caught.value)


def test_arguments_that_text_cannot_have():
  with pytest.raises(leep_jax.InputError, match="a range has two ends"):
    tasks.draw(tasks.Subsets(classes=(2, 3, 4)), TRAIN, TEST, seed=0)
  with pytest.raises(leep_jax.InputError, match="fraction is an empty list"):
    tasks.draw(tasks.LabelNoise(examples=9, fraction=[]), TRAIN, TEST, seed=0)
  with pytest.raises(leep_jax.InputError, match="count is True, but must"):
    tasks.draw(tasks.Subsets(), TRAIN, TEST, count=True, seed=0)
  with pytest.raises(leep_jax.InputError, match="seed is -1, but must"):
    tasks.draw(tasks.Subsets(), TRAIN, TEST, seed=-1)
  with pytest.raises(leep_jax.InputError, match="labels contain -1"):
    tasks.draw(tasks.Subsets(), TRAIN - 1, TEST, seed=0)


@pytest.mark.parametrize("spec", ["all", "subsets", "small(examples=5)"])
def test_one_set_is_not_two(spec):
  with pytest.raises(leep_jax.InputError, match="are one array.*holdout"):
    tasks.parse(spec, TRAIN, TRAIN, seed=0)


def test_sets_without_a_class_in_common():
  with pytest.raises(leep_jax.InputError, match="classes is 2, but.* is 0"):
    tasks.draw(tasks.Subsets(), TRAIN, TEST + 50, seed=0)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_holdout(fraction):
  labels = np.random.default_rng(0).permutation(
    np.repeat([3, 5, 8, 13], [1, 2, 40, 101])
  )
  train, test = tasks.holdout(labels, fraction=fraction, seed=0)
  assert train.dtype == test.dtype == np.int32
  assert sorted([*train, *test]) == list(range(144))  # all, and none in both
  for label, count in ((5, 2), (8, 40), (13, 101)):
    held = np.sum(labels[test] == label)
    assert held == min(max(round(fraction * count), 1), count - 1)
  assert 3 not in labels[test]
  again = tasks.holdout(labels, fraction=fraction, seed=0)
  assert np.array_equal(train, again[0])
  assert np.array_equal(test, again[1])
  other = tasks.holdout(labels, fraction=fraction, seed=1)[1]
  assert not np.array_equal(test, other)


def test_what_cannot_be_held_out():
  with pytest.raises(leep_jax.InputError, match="fraction is 1, but must be"):
    tasks.holdout(TRAIN, fraction=1, seed=0)
  with pytest.raises(leep_jax.InputError, match="no class has two examples"):
    tasks.holdout(np.arange(5), seed=0)
  with pytest.raises(leep_jax.InputError, match="seed is -1"):
    tasks.holdout(TRAIN, seed=-1)
