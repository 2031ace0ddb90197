"""Each score of a few examples, worked out by hand."""

import numpy as np
import pytest

import leep_jax


def test_leep_by_hand():
  # theta = (.8 .2), (.6 .4), (.3 .7); y = 0, 0, 1. Mass of z: 1.7, 1.3.
  # P(0|z) = 1.4/1.7, .6/1.3; P(1|z) = .3/1.7, .7/1.3.
  # p1 = .8*14/17 + .2*6/13 = .751131, p2 = .6*14/17 + .4*6/13 = .678733,
  # p3 = .3*3/17 + .7*7/13 = .429864; mean log = (-.286175 - .387527 - .844287)
  # / 3 = -.505996.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
  assert leep_jax.leep(probs, [0, 0, 1]) == pytest.approx(-0.505996, abs=2e-6)


def test_leep_bounds_by_hand():
  # The same; z = 0, 0, 1 tell y, so NCE = 0, and theta is .8, .6, .7 there:
  # mean log (-.223144 - .510826 - .356675) / 3 = -.363548. With P(y|z) = 14/17,
  # 14/17, 7/13 it is (-.417300 - .704982 - .975714) / 3 = -.699332. A head that
  # gives .9, .5, .8: mean log (-.105361 - .693147 - .223144) / 3 = -.340551.
  bounds = leep_jax.leep_bounds(
    [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]],
    [0, 0, 1],
    head_probs=[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]],
  )
  assert bounds.lower == pytest.approx(-0.363548, abs=2e-6)
  assert bounds.proven == pytest.approx(-0.699332, abs=2e-6)
  assert bounds.leep == pytest.approx(-0.505996, abs=2e-6)
  assert bounds.head == pytest.approx(-0.340551, abs=2e-6)


def test_nce_by_hand():
  # z = 0, 0, 0, 1 with y = 0, 0, 1, 1: z=0 has labels 2:1, z=1 is pure.
  # (2 log(2/3) + log(1/3)) / 4 = (-.810930 - 1.098612) / 4 = -.477386.
  probs = [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]]
  value = leep_jax.nce(probs, [0, 0, 1, 1])
  assert value == pytest.approx(-0.477386, abs=1e-6)


def test_eep_accuracy_by_hand():
  # As in the LEEP example all three probabilities of the true label but the
  # third exceed 1/2: 2 of 3.
  probs = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
  assert leep_jax.eep_accuracy(probs, [0, 0, 1]) == pytest.approx(2 / 3)


def test_h_score_by_hand():
  # f = 0, 2, 4, 6 with y = 0, 0, 1, 1: variance 5, class means 1 and 5 about
  # 3: variance 4. H = 4/5.
  value = leep_jax.h_score([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1])
  assert value == pytest.approx(0.8, abs=1e-6)


def test_regularized_h_score_by_hand():
  # f = 0, 2, 4, 6 as above: one feature is its own average variance, so
  # shrinkage changes nothing but the factor 1 - a, and a = 0 for D = 1.
  value = leep_jax.regularized_h_score(
    [[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]
  )
  assert value == pytest.approx(0.8, abs=1e-6)


def test_logme_by_hand():
  # f = 1, 1, 1, 1 with y = 1, 1, 1, 0: F^T F = 4, along F y has 9/4 of its 3.
  # Evidence: variances t(1 + 4/r) once and t three times. The best have t =
  # .75/3 = .25 and t(1 + 4/r) = 2.25: log p = -(4 log 2 pi + 3 log .25 + log
  # 2.25 + 4)/2 = -(7.351508 - 4.158883 + .810930 + 4)/2 = -4.001778.
  # y = 0, 0, 0, 1: along F 1/4 of 1, t = .25 and .25: no slope, and log p =
  # -(7.351508 + 4 log .25 + 4)/2 = -2.903165. Mean of -1.000444 and -.725791.
  value = leep_jax.logme(np.ones((4, 1)), [1, 1, 1, 0])
  assert value == pytest.approx(-0.863118, abs=1e-6)


def test_logme_of_targets_by_hand():
  # f = 1, 1, 1, 1 with t = 1, 2, 3, 2: along F 8^2/4 = 16 of 18, and 2 in the
  # other three directions: variances 16 and 2/3. log p = -(4 log 2 pi + 3 log
  # 2/3 + log 16 + 4)/2 = -(7.351508 - 1.216395 + 2.772589 + 4)/2 = -6.453851.
  value = leep_jax.logme(np.ones((4, 1)), None, targets=[1, 2, 3, 2])
  assert value == pytest.approx(-6.453851 / 4, abs=1e-6)


def test_n_leep_by_hand():
  # Two pairs far apart and two Gaussians: each example belongs to its pair's.
  # Labels 0, 0 and 0, 1: NCE = 2 log(1/2) / 4 = -.346574.
  value = leep_jax.n_leep(
    [[0.0], [1.0], [100.0], [101.0]], [0, 0, 0, 1], components=2
  )
  assert value == pytest.approx(-0.346574, abs=1e-6)


def test_trans_rate_by_hand():
  # f = 0, 0, 0, 4 with y = 0, 0, 0, 1, less 1, and eps = 1: R = log(1 + 12/4)/2
  # = .693147; of class 0 log(1 + 1)/2 = .346574, of class 1 log(1 + 9)/2 =
  # 1.151293. .693147 - 3/4 .346574 - 1/4 1.151293 = .145394.
  features = [[0.0], [0.0], [0.0], [4.0]]
  value = leep_jax.trans_rate(features, [0, 0, 0, 1], eps=1)
  assert value == pytest.approx(0.145394, abs=1e-6)


def test_gbc_by_hand():
  # f = 0, 2 and 4, 8: means 1 and 6, variances 1 and 4, V = 2.5. B = 25/2.5/8 +
  # log(2.5 / sqrt(1*4))/2 = 1.25 + .111572; twice exp(-1.361572) = .512516.
  features = [[0.0], [2.0], [4.0], [8.0]]
  for covariance in ("spherical", "diagonal"):
    value = leep_jax.gbc(features, [0, 0, 1, 1], covariance=covariance)
    assert value == pytest.approx(-0.512516, abs=1e-6)


def test_parc_by_hand():
  # Less 2: (-1 0 1), (-1 1 0), (1 0 -1), (1 -1 0), of length sqrt 2. Distances
  # of 12 13 14 23 24 34: .5 2 1.5 1.5 2 .5, ranks less 3.5: -2 2 0 0 2 -2. Do
  # labels differ: 0 1 1 1 1 0, ranks less 3.5: -2 1 1 1 1 -2. Correlation
  # (4 + 2 + 0 + 0 + 2 + 4) / sqrt(16 * 12) = .866025.
  features = [[1.0, 2, 3], [1, 3, 2], [3, 2, 1], [3, 1, 2]]
  value = leep_jax.parc(features, [0, 0, 1, 1])
  assert value == pytest.approx(0.866025, abs=1e-6)


def test_lin_mse_by_hand():
  # f = -1, 0, 1 with t = 1, 0, 2: b = 1, and over a 2/3 - 2 a/3 + a^2 (2/3 +
  # lambda). lambda = 1: a = .2 and 2/3 - .2/3 = .6; 0: a = .5 and .5.
  features, targets = [[-1.0], [0.0], [1.0]], [1, 0, 2]
  assert leep_jax.lin_mse(features, targets) == pytest.approx(-0.6)
  assert leep_jax.lin_mse(features, targets, ridge=0) == pytest.approx(-0.5)


def test_lab_mse_by_hand():
  # theta = (1 0), (.5 .5), (0 1) with t = 1, 0, 2: a slope s over the second
  # costs |A|^2 = s^2/2 with A = (-s/2 s/2). 2/3 - 2 s/6 + s^2 (1/6 + 1/2): s =
  # .25 and 2/3 - .25/6 = .625.
  probs = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
  assert leep_jax.lab_mse(probs, [1, 0, 2]) == pytest.approx(-0.625)
