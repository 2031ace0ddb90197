"""PyTorch modules as programs: outputs, features, JSON, what is refused."""

import json

import jax
import jax.numpy as jnp
import networks_in_torch as networks
import numpy as np
import pytest

import leep_jax
from leep_jax.bridge import graph as graph_lib, heads, program, running

torch = networks.torch
SIZE = 16
IMAGES = np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype("f")
EXAMPLE = (torch.zeros(1, 3, SIZE, SIZE),)


def in_torch(module, images=IMAGES):
  with torch.no_grad():
    return module(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


def last_input(module, layer):
  """The input of a layer, for `IMAGES`."""
  seen = []
  hook = module.get_submodule(layer).register_forward_pre_hook(
    lambda _, inputs: seen.append(inputs[0])
  )
  in_torch(module)
  hook.remove()
  return seen[0].numpy()


def run(module, **options):
  made, arrays = program.from_module(module, EXAMPLE, name="mine", **options)
  logits, features = jax.jit(made.apply)(arrays, IMAGES)
  return made, logits, features


@pytest.mark.parametrize(
  ("network", "layer"),
  [(networks.Convolutional, "fc"), (networks.Attending, "head")],
)
def test_logits_and_features(network, layer):
  module = networks.made(network)
  made, logits, features = run(module)
  np.testing.assert_allclose(logits, in_torch(module), rtol=1e-4, atol=1e-5)
  wanted = last_input(module, layer)
  np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)
  assert set(made.head.weights) == {f"{layer}.weight", f"{layer}.bias"}
  trained = {name for name, _ in module.named_parameters()}
  assert set(made.trained()) == trained - set(made.head.weights)


def test_two_classifiers_have_both_inputs():
  module = networks.made(networks.TwoHeads)
  made, logits, features = run(module)
  np.testing.assert_allclose(logits, in_torch(module), rtol=1e-4, atol=1e-5)
  assert features.shape == (3, 96)
  assert len(made.head.weights) == 4


@pytest.mark.parametrize(
  "joined",
  [
    lambda logits: torch.stack(logits).mean(0),
    lambda logits: torch.stack(logits, 1).sum(1),
    lambda logits: torch.stack(logits, 2).mean(2),
  ],
)
def test_classifiers_that_are_stacked(joined):
  class Stacked(networks.TwoHeads):
    def forward(self, x):
      x = x[:, :, :4, :4].flatten(1)
      return joined([self.one(x), self.other(torch.relu(x))])

  module = networks.made(Stacked)
  made, logits, features = run(module)
  np.testing.assert_allclose(logits, in_torch(module), rtol=1e-4, atol=1e-5)
  wanted = [last_input(module, layer) for layer in ("one", "other")]
  np.testing.assert_allclose(features, np.concatenate(wanted, 1), rtol=1e-5)
  assert len(made.head.weights) == 4


def test_classifiers_of_other_classes_are_not_joined():
  class SideBySide(networks.TwoHeads):
    def forward(self, x):
      x = x[:, :, :4, :4].flatten(1)
      return torch.cat([self.one(x), self.other(x)], 1)

  with pytest.raises(leep_jax.InputError, match="no last linear layer"):
    run(networks.made(SideBySide))


def test_a_convolution_as_classifier():
  module = networks.made(networks.ConvolutionAsHead)
  _, logits, features = run(module)
  np.testing.assert_allclose(logits, in_torch(module), rtol=1e-4, atol=1e-5)
  wanted = last_input(module, "classifier").mean((2, 3))
  np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)


def test_logits_are_before_a_softmax():
  module = networks.made(networks.EndsInSoftmax)
  _, logits, _ = run(module)
  found = jax.nn.softmax(logits)
  np.testing.assert_allclose(found, in_torch(module), rtol=1e-4, atol=1e-6)


def test_a_sigmoid_is_no_distribution():
  module = torch.nn.Sequential(
    networks.made(networks.Convolutional), torch.nn.Sigmoid()
  )
  made, *_ = run(module)
  assert "sigmoid" in made.head.without_probs


def test_without_a_classifier_the_output_is_the_features():
  module = networks.made(networks.Convolutional, 0)
  made, logits, features = run(module, without_probs="it has none")
  assert logits is None
  np.testing.assert_allclose(features, in_torch(module), rtol=1e-4, atol=1e-5)
  assert made.head.without_probs == "it has none"


def test_other_features_by_their_name():
  module = networks.made(networks.Convolutional)
  made, _, _ = run(module)
  relu = next(n.name for n in made.graph.nodes if n.op == "relu")
  _, logits, features = run(module, features=relu)
  np.testing.assert_allclose(logits, in_torch(module), rtol=1e-4, atol=1e-5)
  assert features.shape == (3, 8)  # the mean over places
  with pytest.raises(leep_jax.InputError, match="no value 'rel'; its last"):
    run(module, features="rel")


def test_in_bfloat16():
  made, arrays = program.from_module(
    networks.made(networks.Attending), EXAMPLE, name="mine"
  )
  low = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arrays)
  logits, features = made.apply(low, IMAGES.astype(jnp.bfloat16))
  assert logits.dtype == features.dtype == jnp.bfloat16
  exact, _ = made.apply(arrays, IMAGES)
  error = np.linalg.norm(np.asarray(logits, np.float32) - exact)
  assert error < 0.05 * np.linalg.norm(exact)


def test_gradients_are_those_of_pytorch():
  module = networks.made(networks.Convolutional)
  made, arrays = program.from_module(module, EXAMPLE, name="mine")

  def loss(weights):
    logits, _ = made.apply({**arrays, "weights": weights}, IMAGES)
    return jnp.sum(logits**2)

  found = jax.grad(loss)(arrays["weights"])
  images = torch.tensor(IMAGES.transpose(0, 3, 1, 2))
  (module(images) ** 2).sum().backward()
  for name, parameter in module.named_parameters():
    wanted = parameter.grad.numpy()
    near = 1e-4 * np.abs(wanted).max()
    np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=near)


@pytest.mark.parametrize("network", [networks.Attending, networks.TwoHeads])
def test_json_holds_all_of_it(network):
  made, arrays = program.from_module(
    networks.made(network), EXAMPLE, name="mine"
  )
  again = program.Program.from_json(made.to_json())
  assert again == made
  for one, other in zip(
    made.apply(arrays, IMAGES), again.apply(arrays, IMAGES), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_damaged_and_later_programs():
  made, _ = program.from_module(
    networks.made(networks.TwoHeads), EXAMPLE, name="mine"
  )
  text = made.to_json()
  with pytest.raises(leep_jax.InputError, match="cut short"):
    program.Program.from_json(text[:-10])
  later = json.loads(text)
  later["graph"]["version"] = 9
  with pytest.raises(leep_jax.InputError, match="has version 9.*newer"):
    program.Program.from_json(json.dumps(later))


def test_constants_are_computed_once():
  made, arrays = program.from_module(
    networks.made(networks.Attending), EXAMPLE, name="mine"
  )
  assert not any(node.op == "sin" for node in made.graph.nodes)
  (sines,) = (v for v in arrays["constants"].values() if v.shape == (16,))
  np.testing.assert_allclose(sines, np.sin(np.arange(16)), atol=1e-6)


def test_unknown_operations_are_all_named():
  class Bessel(torch.nn.Module):
    def forward(self, x):
      return torch.special.bessel_j0(torch.lgamma(x)).mean((2, 3))

  with pytest.raises(
    leep_jax.InputError, match=r"mine uses \d operations.*lgamma.*bessel_j0"
  ):
    program.from_module(Bessel(), EXAMPLE, name="mine", without_probs="none")


def test_what_pytorch_cannot_export():
  class Deciding(torch.nn.Module):
    def forward(self, x):
      return x if x.sum() > 0 else -x

  with pytest.raises(
    leep_jax.InputError, match="mine cannot be exported by PyTorch"
  ):
    program.from_module(Deciding(), EXAMPLE, name="mine")


def test_an_operation_that_fails_is_named():
  node = graph_lib.Node("y", "view", (graph_lib.Ref("x"), [7]))
  network = graph_lib.Graph(("x",), {}, (), (), (node,), "y")
  with pytest.raises(leep_jax.InputError, match=r"operation view \(y\) failed"):
    running.run(network, running.Arrays({}, {}), [jnp.ones(3)])


def test_what_the_output_does_not_need_is_left_out():
  class Wasteful(networks.Convolutional):
    def forward(self, x):
      torch.sin(x)
      return super().forward(x)

  made, *_ = run(networks.made(Wasteful))
  assert "sin" not in made.graph.operations()
  # The logits need the classifier; the features do not.
  body = made.graph.used(*(part.name for part in made.head.features))
  assert not set(made.head.weights) & set(body.weights.values())


def test_a_network_without_a_linear_layer():
  module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Tanh())
  with pytest.raises(leep_jax.InputError, match="no last linear layer"):
    run(module)
  assert heads.pooled(jnp.ones((1, 7, 5)), 0).shape == (5,)
