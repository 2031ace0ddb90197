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


def test_pactran_dirichlet_by_hand():
  # One source label, y = 0, 1: a0 = 1/2 each, and the evidence is E[w (1 - w)]
  # = (1/2 1/2) / (1 2) = 1/8: log(1/8) / 2 = -1.039721.
  value = leep_jax.pactran_dirichlet(np.ones((2, 1)), [0, 1])
  assert value == pytest.approx(-1.039721, abs=1e-6)


def test_pactran_gamma_by_hand():
  # One source label, y = 0, 1: a = 3/2 each, l = 3/b and b = 1 + 2/l, so that b
  # = 3 and l = 1. 2 (log Gamma(3/2) - log Gamma(1/2) - 3/2 log 3) + 2 = 2
  # (-.693147 - 1.647918) + 2 = -2.682131; half of it.
  value = leep_jax.pactran_gamma(np.ones((2, 1)), [0, 1], steps=50)
  assert value == pytest.approx(-1.341066, abs=1e-6)


def test_pactran_gaussian_by_hand():
  # f = 1, -1 with weights w and -w, and c = 1/2 * 2 = 1: the loss is
  # log(1 + exp(-2w)) + w^2, the least at w = 1/(1 + exp(2w)) = .337416: .411608
  # + .113849. p = .662584: tr H = 2 p (1-p) = .447133. s^2 = 1, so lambda = 1:
  # 2/2 log(1 + 1/2 tr H) = .201770. In all .727227.
  value = leep_jax.pactran_gaussian([[1.0], [-1.0]], [0, 1], spread=0.5)
  assert value == pytest.approx(-0.727227, abs=1e-6)


def test_etran_energy_by_hand():
  # log(1 + 1) = .693147, log(1 + e) = 1.313262: mean 1.003204.
  features = [[0.0, 0.0], [0.0, 1.0]]
  value = leep_jax.etran_energy(features, [0, 1])
  assert value == pytest.approx(1.003204, abs=1e-6)
  value = leep_jax.etran_energy(features, [0, 1], share=0.005)
  assert value == pytest.approx(0.693147, abs=1e-6)


def test_etran_lda_by_hand():
  # f = -3, -1, 1, 3 with y = 0, 0, 1, 1: means -2 and 2, variance 1 within
  # classes, of which shrinkage of one feature changes nothing. Log odds 4 f:
  # P = 1/(1 + e^-12), 1/(1 + e^-4): mean (.999994 + .982014)/2.
  value = leep_jax.etran_lda([[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 1, 1])
  assert value == pytest.approx(0.991004, abs=1e-6)


def test_sfda_by_hand():
  # As above. c = 1/(1 + exp(1 - 2P)) = .731056 and .723927; mixed with 2: -3 c
  # + 2 (1 - c) = -1.655281, -c + 2 (1 - c) = -.171782. Mean -.913532, variance
  # .550192; log odds 2 * .913532 / .550192 t = 3.320775 t: P = 1/(1 +
  # exp(-5.496814)) = .995917 and 1/(1 + exp(-.570451)) = .638867: mean .817392.
  value = leep_jax.sfda([[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 1, 1])
  assert value == pytest.approx(0.817392, abs=1e-6)


def test_ncti_by_hand():
  # As above: P is .999994 and .982014 with 1 - P. Z = f / 1, as the variance
  # within classes is 1: ||Z|| / sqrt(4) = sqrt(20) / 2 = 2.236068.
  features, labels = [[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 1, 1]
  assert leep_jax.ncti_ncc(features, labels) == pytest.approx(0.991004)
  assert leep_jax.ncti_seli(features, labels) == pytest.approx(2.236068)
  # Rows (.999994, .000006) and (.982014, .017986): the squares of the singular
  # values add up to 1.964662, and their product is the determinant .017980
  # squared: their sum is sqrt(1.964662 + 2 * .017980) = 1.414433. Twice over 2:
  # - log 1.414433.
  value = leep_jax.ncti_variability(features, labels)
  assert value == pytest.approx(-0.346729, abs=1e-6)


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
