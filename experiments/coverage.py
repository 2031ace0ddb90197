"""Measures how often the intervals of scores hold what they estimate.

    python -m experiments.coverage --data_dir=DIR --weights=DIR --outputs=DIR

Purpose: are the standard errors right on the outputs of real networks? Eight
sources give outputs of 20,000 training images of CIFAR-100 and Fashion-MNIST.
Random samples of 100, 500 and 5,000 of them get scores with 95 % intervals,
the same samples for all sources. The scores of all 20,000 are the values "at
large n". Samples of one size are disjoint as long as there are enough images.

As the images are all there is, a sample differs from them less than it would
from an endless supply, by the factor sqrt(1 - n / 20,000) in standard errors:
0.87 at n = 5,000. Intervals are shortened by it before they are judged; whether
two sources are told apart is judged by the intervals that a user sees.

Cost: 7 minutes of processor time for the outputs and about 14 for the scores.
Outputs and samples that `--outputs` has already are not computed again.
The command then writes `experiments/results/coverage.jsonl`, and
`experiments.blocks` the table `experiments/results/coverage.md`. There are 40
samples of each size, of H-score 20 and of LogME 10, whose jackknives are slow:
the last digit of most percentages is noise.

What came out:

- Intervals hold the mean of a score over samples of its size at 90 to 100 %.
  They are not too short; with few examples a class they are too long (standard
  errors of 1.2 to 2.9 times the scatter for H-score and LogME on CIFAR-100).
  Those of `probe_accuracy` are up to 20 % too short (90 to 92 %; it treats
  held-out predictions, which share training examples, as independent), and of
  `leep_loo` by 14 % at an example a class (91 %).
- They do not hold the value at large n where the score is biased, and cannot.
  With 10 classes, LEEP's do at 29, 72 and 92 % (n = 100, 500, 5,000), those of
  `leep_loo` at 71, 88 and 94 %. With 100 classes they rarely do: even at 5,000
  LEEP is 4 standard deviations too high, NCE 10, H-score 10, and `leep_loo` 2
  too low. There, the values of 20,000 images are biased as well: LEEP is 0.01
  to 0.04 above `leep_loo`.
- `probe_accuracy` holds what heads reach that are trained on the sample, at 86
  to 95 % with 10 classes and at 85 to 92 % with 100; at n = 100, an example a
  class, at less than half (it is 1.5 standard deviations too high).
- Sources that are told apart are in the order of large n in 94 to 100 % of the
  cases, although the differences themselves are often not held. The exception
  is `leep_loo` with 5 examples a class or fewer (76 %): it then ranks
  `cifar10_resnet14`, whose largest probability is 0.68 on average, above the
  other ResNets of CIFAR-10, with 0.84 and more, which are slightly better at
  large n. More peaked outputs need more examples.
- The set of possibly best sources holds the best one at 98 to 100 %.
- H-score hardly tells sources apart with few examples a class (5 % of the pairs
  of CIFAR-100 at n = 100). With at most as many examples as features, here 64,
  it would be saturated, the same for all samples.
- Other groups change little: 50 groups nothing, stratified ones shorten the
  errors by up to 9 %, which helps nowhere. The bias-corrected jackknife removes
  most of the bias with 10 classes (LEEP at n = 100: 90 % instead of 29 %), but
  not with 100, and makes some intervals too short. None of them is adopted.
"""

from collections.abc import Iterator, Sequence
import json
import pathlib
import sys
from typing import Any

from absl import flags
import jax
import numpy as np

from experiments import compact, coverage_judged
import leep_jax
from leep_jax import command, validation
from leep_jax.reports import results
from leep_jax.scores import jackknife, ridge

FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_WEIGHTS = flags.DEFINE_string(
  "weights",
  None,
  "Folder that contains resnet20_cifar10.safetensors and deeper ones.",
  flag_values=FLAGS,
)
_OUTPUTS = flags.DEFINE_string(
  "outputs",
  None,
  "Folder that keeps outputs, and scores of samples.",
  flag_values=FLAGS,
)
_DATASETS = flags.DEFINE_list(
  "datasets",
  ["cifar100", "fashion_mnist"],
  "Score samples of these only, and write no rows if one is missing.",
  flag_values=FLAGS,
)
RESULTS = pathlib.Path(__file__).parent / "results"
ROWS = RESULTS / "coverage.jsonl"
TABLE = RESULTS / "coverage.md"
TARGETS = ("cifar100", "fashion_mnist")
SOURCES = coverage_judged.SOURCES
# Sources that were trained on the very images of a target.
TRAINED = {
  "cifar100": "cifar100_resnet14",
  "fashion_mnist": "fashion_mnist_resnet8",
}
PAIRS = coverage_judged.PAIRS
EXAMPLES = coverage_judged.EXAMPLES
SIZES = (100, 500, 5000)
DRAWS = 40
SCORES = (
  "leep", "leep_loo", "nce", "h_score", "regularized_h_score", "logme",
  "probe_accuracy",
)  # fmt: skip
# Scores whose jackknife takes most of the time, so of fewer samples.
FEWER = {"h_score": 20, "logme": 10}
# Other groups are tried for scores whose jackknife is fast. Sorted by class,
# the examples of each class are spread over the groups evenly.
VARIANTS = ("groups of 50", "stratified")
TRIED = ("leep", "leep_loo", "nce", "regularized_h_score")
BIAS_CORRECTED = "bias-corrected"
REACHED = "reached"
_NOTES = f"""# Coverage of 95 % intervals

Written by `python -m experiments.blocks`; see `experiments/coverage.py`.
Samples of n of {EXAMPLES:,} training images are scored with {len(SOURCES)}
sources.

- *bias / sd*: the mean over samples minus the value of all images, over the
  standard deviation over samples; mean over sources.
- *se / sd*: the mean standard error over that standard deviation.
- *holds large n*, *holds mean*: intervals that hold the value of all images,
  and those that hold the mean of the score over samples of this size. If only
  the second are 95 %, the error is bias; if neither, intervals are too short.
- *pairs hold*: intervals of paired differences of two sources that hold the
  difference of all images.
- *told apart*, *right*: paired intervals without 0, and how many of those have
  the sign of the difference of all images.
- *set of 7*, *set holds best*: the mean number of sources that
  `jackknife.indistinguishable` marks, and how often the best of all images is
  one of them. The source that was trained on the same images is left out, as
  it is the best by far.
- *{REACHED}*: compared with the accuracy on all other images of a head that is
  fitted to the sample, instead of the value of all images.
- *saturated*: the score is the same for all samples."""


def samples(size: int, count: int) -> Iterator[np.ndarray]:
  """Yields sorted indices of random samples, disjoint as long as possible."""
  per_order = EXAMPLES // size
  for draw in range(count):
    order = np.random.default_rng((size, draw // per_order)).permutation(
      EXAMPLES
    )
    start = draw % per_order * size
    yield np.sort(order[start : start + size])


def opened(
  target: str, *, data_dir: str, weights: str, folder: pathlib.Path
) -> list[leep_jax.Outputs]:
  """Returns the outputs of all sources, from the folder where it has them."""
  found = []
  for name in SOURCES:
    place = folder / target / name
    if not place.exists():
      path = f"{weights}/{name}_cifar10.safetensors"
      known = f"{name}@{path}" if name.startswith("resnet") else name
      dataset = leep_jax.load_dataset(
        target, data_dir=data_dir, split="train", limit=EXAMPLES
      )
      outputs = leep_jax.compute_outputs(leep_jax.load_source(known), dataset)
      place.parent.mkdir(parents=True, exist_ok=True)
      outputs.save(place)
      print(f"{target}: outputs of {name}", flush=True)
    found.append(leep_jax.Outputs.load(place))
  return found


def reached(
  sample: leep_jax.Outputs, others: np.ndarray, labels: np.ndarray
) -> float:
  """Accuracy on other examples of the probe's head, fitted to the sample.

  Args:
    sample: outputs of the examples to fit.
    others: `[m, D]`, features of examples that are not in the sample.
    labels: `[m]`, their labels.
  """
  features = np.asarray(sample.features, np.float64)
  mean, scale = features.mean(axis=0), features.std(axis=0)
  # Features that do not vary are left out.
  scale = np.where(scale > 1e-7 * np.abs(mean), scale, np.inf)
  x = (features - mean) / scale
  classes = np.unique(sample.labels)
  t = (sample.labels[:, None] == classes).astype(np.float64)
  ridge_term = len(x) * ridge.held_out(sample).penalty * np.eye(x.shape[1])
  head = np.linalg.solve(x.T @ x + ridge_term, x.T @ (t - t.mean(axis=0)))
  predicted = (others - mean) / scale @ head + t.mean(axis=0)
  return float(np.mean(classes[predicted.argmax(axis=1)] == labels))


def _bias_corrected(found):
  """The estimate whose value is the mean of its pseudo-values."""
  odds = found.sizes.sum() / found.sizes
  pseudo = odds * found.value - (odds - 1) * found.deleted
  change = np.average(pseudo, weights=found.sizes) - found.value
  return jackknife.Estimate(
    found.value + change, found.deleted + change, found.sizes, found.examples
  )


def facts(found: Sequence[jackknife.Estimate | None]) -> dict[str, Any]:
  """Returns what is judged later of one score of all sources on a sample."""

  def of(estimate):
    interval = None if estimate is None else estimate.interval()
    if interval is None:
      value = None if estimate is None else estimate.value
      return [value, None, None, None]
    return [
      float(f"{x:.7g}")
      for x in (estimate.value, estimate.standard_error, *interval)
    ]

  def difference(a, b):
    if a is None or b is None:
      return None
    return jackknife.paired_difference(a, b)

  return {
    "single": [of(estimate) for estimate in found],
    "pairs": [of(difference(found[i], found[j])) for i, j in PAIRS],
    "set": [bool(x) for x in jackknife.indistinguishable(list(found))],
  }


def draw(
  sources: Sequence[leep_jax.Outputs],
  chosen: np.ndarray,
  names: Sequence[str],
) -> dict[str, Any]:
  """Scores one sample with all sources.

  Args:
    sources: outputs of all examples.
    chosen: the sample's indices.
    names: of scores, which include `TRIED`.
  """
  picked = [outputs.select(chosen) for outputs in sources]
  kinds = {"": [leep_jax.estimate_scores(o, names=names) for o in picked]}
  kinds["groups of 50"] = [
    leep_jax.estimate_scores(o, names=TRIED, groups=50) for o in picked
  ]
  by_class = chosen[np.argsort(sources[0].labels[chosen], kind="stable")]
  kinds["stratified"] = [
    leep_jax.estimate_scores(o.select(by_class), names=TRIED) for o in sources
  ]
  kinds[BIAS_CORRECTED] = [
    {
      name: None if found[name] is None else _bias_corrected(found[name])
      for name in TRIED
    }
    for found in kinds[""]
  ]
  rest = np.ones(EXAMPLES, bool)
  rest[chosen] = False
  labels = sources[0].labels[rest]
  return {
    REACHED: [
      reached(one, np.asarray(all_of.features)[rest], labels)
      for one, all_of in zip(picked, sources, strict=True)
    ],
    "scores": {
      kind: {name: facts([f[name] for f in found]) for name in found[0]}
      for kind, found in kinds.items()
    },
  }


def scored(
  target: str, folder: pathlib.Path, sources: Sequence[leep_jax.Outputs]
) -> None:
  """Adds the samples that are missing to the folder's files of the target.

  Args:
    target: name of the data set.
    folder: for one file of each size, with a line for each sample.
    sources: outputs of all examples.
  """
  large = folder / f"{target}_large.json"
  if not large.exists():
    found = [leep_jax.compute_scores(o, names=SCORES) for o in sources]
    large.write_text(json.dumps(found))
  for size in SIZES:
    path = folder / f"{target}_{size}.jsonl"
    done = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as file:
      for number, chosen in enumerate(samples(size, DRAWS)):
        if number >= done:
          names = [n for n in SCORES if number < FEWER.get(n, DRAWS)]
          file.write(json.dumps(draw(sources, chosen, names)) + "\n")
          file.flush()
          if number % 10 == 9:
            print(f"{target}, n = {size}: {number + 1} samples", flush=True)


def rows_of(folder: pathlib.Path) -> Sequence[results.Row]:
  """Returns the rows of all samples in the folder."""
  about = {"jax": jax.__version__, "device": jax.devices()[0].platform}
  rows: list[results.Row] = []
  for target in TARGETS:
    large = json.loads((folder / f"{target}_large.json").read_text())
    for size in SIZES:
      text = (folder / f"{target}_{size}.jsonl").read_text()
      draws = [json.loads(line) for line in text.splitlines()]
      for kind, scores in draws[0]["scores"].items():
        for name in scores:
          taken = [
            d["scores"][kind][name]
            for d in draws[: FEWER.get(name, DRAWS)]
            if name in d["scores"][kind]
          ]
          truths = {"large n": np.array([found[name] for found in large])}
          if name == "probe_accuracy":
            truths[REACHED] = np.array([d[REACHED] for d in draws[:DRAWS]])
          rows += [
            {
              **about, "target": target, "score": name, "groups": kind,
              "truth": truth,
              **coverage_judged.judged(
                size, taken, values, others=truth == REACHED,
                degrees=_degrees(name, kind),
                trained_on_it=SOURCES.index(TRAINED[target]),
              ),
            }
            for truth, values in truths.items()
          ]  # fmt: skip
  return rows


def _degrees(name, kind):
  if name == "probe_accuracy":
    return np.inf
  return 49 if kind == "groups of 50" else jackknife.GROUPS - 1


def measured() -> Sequence[results.Row]:
  """Returns the committed rows."""
  return results.parse_rows(ROWS.read_bytes(), name=ROWS.name)[0]


def table(rows: Sequence[results.Row]) -> str:
  """Returns all rows as Markdown tables."""
  text = [_NOTES]
  for target in TARGETS:
    found = [row for row in rows if row["target"] == target]
    usual = [row for row in found if not row["groups"]]
    tried = [row for row in found if row["score"] in TRIED]
    tried.sort(key=lambda row: (TRIED.index(row["score"]), row["n"]))
    text += [f"## {target}", _lines(usual), "Other groups:", _lines(tried)]
  return "\n\n".join(text)


def _lines(rows):
  lines = [
    "| score | n | samples | bias / sd | se / sd | holds large n | "
    "holds mean | pairs hold | told apart | right | set of 7 | "
    "set holds best |",
    "|---" * 12 + "|",
  ]
  rows = sorted(rows, key=lambda row: SCORES.index(row["score"]))
  for row in rows:
    what = row["groups"] or (REACHED if row["truth"] == REACHED else "")
    name = f"`{row['score']}`" + (f", {what}" if what else "")
    ratio = row["error_ratio"]
    # All samples have one value, so that nothing was estimated.
    saturated = ratio is None
    cells = [
      name, f"{row['n']:,}", f"{row['samples']}",
      "saturated" if saturated else f"{row['bias'] / row['sd']:+.1f}",
      "-" if saturated else f"{ratio:.2f}",
      *(
        _percent(row[key])
        for key in (
          "holds", "holds_mean", "pair_holds", "told_apart", "right",
        )
      ),
      f"{row['set_size']:.1f}", _percent(row["set_holds"]),
    ]  # fmt: skip
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def _percent(share):
  return "-" if share is None else f"{100 * share:.0f} %"


def _run() -> int:
  if not (_DATA_DIR.value and _WEIGHTS.value and _OUTPUTS.value):
    raise validation.InputError(
      "--data_dir, --weights and --outputs are missing"
    )
  folder = pathlib.Path(_OUTPUTS.value)
  for target in _DATASETS.value:
    sources = opened(
      target, data_dir=_DATA_DIR.value, weights=_WEIGHTS.value, folder=folder
    )
    scored(target, folder, sources)
  if set(_DATASETS.value) == set(TARGETS):
    ROWS.write_bytes(compact.compact(rows_of(folder)))
    print(f"wrote {ROWS.name}: now run python -m experiments.blocks")
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
