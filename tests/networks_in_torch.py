"""Small PyTorch networks with what real ones are made of."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


class Convolutional(nn.Module):
  """Convolutions, BatchNorm, a gate, pooling; logits of the mean."""

  def __init__(self, classes=5):
    super().__init__()
    self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    self.bn = nn.BatchNorm2d(8)
    self.gate = nn.Conv2d(8, 8, 1)
    self.pool = nn.MaxPool2d(3, 2, 1)
    self.fc = nn.Linear(8, classes) if classes else nn.Identity()

  def forward(self, x):
    x = torch.relu(self.bn(self.conv(x)))
    x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
    return self.fc(nn.functional.dropout(self.pool(x).mean((2, 3)), 0.5,
                                         self.training))  # fmt: skip


class Attending(nn.Module):
  """Patches, attention, LayerNorm, a class token."""

  def __init__(self):
    super().__init__()
    self.patches = nn.Conv2d(3, 16, 4, stride=4)
    self.token = nn.Parameter(torch.randn(1, 1, 16))
    self.register_buffer("steps", torch.arange(16.0), persistent=False)
    self.norm = nn.LayerNorm(16)
    self.qkv = nn.Linear(16, 48)
    self.head = nn.Linear(16, 5)

  def forward(self, x):
    x = self.patches(x).flatten(2).transpose(1, 2) + torch.sin(self.steps)
    x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
    q, k, v = self.qkv(self.norm(x)).reshape(
      x.shape[0], -1, 3, 2, 8).permute(2, 0, 3, 1, 4)  # fmt: skip
    y = nn.functional.scaled_dot_product_attention(q, k, v)
    x = x + y.transpose(1, 2).reshape(x.shape)
    return self.head(self.norm(x)[:, 0])


class TwoHeads(nn.Module):
  """The mean of two classifiers with inputs of their own."""

  def __init__(self):
    super().__init__()
    self.one, self.other = nn.Linear(48, 5), nn.Linear(48, 5)

  def forward(self, x):
    x = x[:, :, :4, :4].flatten(1)
    return (self.one(x) + self.other(torch.relu(x))) / 2


class ConvolutionAsHead(nn.Module):
  """A 1x1 convolution that classifies every place, then the mean."""

  def __init__(self):
    super().__init__()
    self.conv = nn.Conv2d(3, 6, 4, stride=4)
    self.classifier = nn.Conv2d(6, 5, 1)

  def forward(self, x):
    x = torch.relu(self.classifier(torch.relu(self.conv(x))))
    return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


class EndsInSoftmax(Convolutional):
  def forward(self, x):
    return torch.softmax(super().forward(x), -1)


def made(network, *args):
  """A network in evaluation mode, with statistics that are not 0 and 1."""
  torch.manual_seed(0)
  module = network(*args)
  for name, value in module.named_buffers():
    if name.endswith("running_mean"):
      value.normal_()
    elif name.endswith("running_var"):
      value.uniform_(0.5, 2)
  return module.eval()
