"""A discriminator of patches and its game with the tokenizer.

The usual precautions are here because without them the game ends badly: the discriminator starts
first, the tokenizer feels it from a given step and with a rising weight, the weight follows the
strength of the reconstruction's gradient (compared at the output, where every family has one, not
at a last layer that families would have to name), and the discriminator is held back by a
gradient penalty (R1, arXiv:1801.04406) or by LeCAM (arXiv:2104.03310).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.spec import TokenizerSpec
from zoo.training.settings import Adversarial

__all__ = ["Critic", "PatchDiscriminator"]

_CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_DIMS = {"BCTHW": (2, 3), "BTD": (1,), "BTJC": (2,)}
_SCORE_DECAY = 0.99


class PatchDiscriminator(nn.Sequential):
    """One score for each patch: strided convolutions, each halving the axes it sees."""

    def __init__(self, channels: int, dims: int, width: int = 32, depth: int = 3):
        conv = _CONVS[dims]
        layers: list[nn.Module] = [conv(channels, width, 3, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, depth):
            narrow, wide = width * 2 ** (level - 1), width * 2**level
            layers += [conv(narrow, wide, 3, 2, 1), nn.GroupNorm(4, wide), nn.LeakyReLU(0.2)]
        layers.append(conv(width * 2 ** (depth - 1), 1, 3, 1, 1))
        super().__init__(*layers)


class Critic(nn.Module):
    """The discriminator, its losses, its optimiser and what it remembers."""

    real_mean: Tensor
    fake_mean: Tensor

    def __init__(self, settings: Adversarial, spec: TokenizerSpec):
        super().__init__()
        if settings.dims not in _DIMS[spec.layout]:
            allowed = " or ".join(str(dims) for dims in _DIMS[spec.layout])
            raise UsageError(
                f"a discriminator of {settings.dims} dimensions cannot judge {spec.modality}",
                allowed=f"dims: {allowed}",
            )
        self.settings = settings
        self.layout = spec.layout
        self.net = PatchDiscriminator(spec.channels, settings.dims, settings.width, settings.depth)
        self.register_buffer("real_mean", torch.zeros(()))
        self.register_buffer("fake_mean", torch.zeros(()))
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), settings.learning_rate, betas=(0.5, 0.9), weight_decay=0.0
        )

    def learns(self, step: int) -> bool:
        """Whether the discriminator is trained at `step`."""
        return step >= self.settings.start_step - self.settings.lead_steps

    def weight(self, step: int) -> float:
        """What the tokenizer's adversarial loss counts at `step`, before adaptation."""
        since = step - self.settings.start_step
        if since < 0:
            return 0.0
        rise = min(
            1.0, (since + 1) / self.settings.warmup_steps if self.settings.warmup_steps else 1
        )
        return self.settings.weight * rise

    def tokenizer_loss(self, output: Tensor, reconstruction: Tensor, step: int) -> Tensor:
        """The weighted loss of reconstructions that do not pass for real."""
        scores = self._scores(output, frozen=True)
        vanilla = self.settings.kind == "vanilla"
        loss = functional.softplus(-scores).mean() if vanilla else -scores.mean()
        scale = self._adapted(output, reconstruction, loss) if self.settings.adaptive else 1.0
        return self.weight(step) * scale * loss

    def own_loss(self, real: Tensor, output: Tensor) -> Tensor:
        """What the discriminator makes small: telling real clips from reconstructions."""
        real = real.detach().requires_grad_(self.settings.gradient_penalty > 0)
        real_scores, fake_scores = self._scores(real), self._scores(output.detach())
        if self.settings.kind == "hinge":
            loss = (functional.relu(1 - real_scores) + functional.relu(1 + fake_scores)).mean() / 2
        else:
            loss = (functional.softplus(-real_scores) + functional.softplus(fake_scores)).mean() / 2
        if self.settings.gradient_penalty:
            (slope,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
            penalty = slope.square().flatten(1).sum(1).mean()
            loss = loss + self.settings.gradient_penalty * penalty
        if self.settings.lecam:
            loss = loss + self.settings.lecam * self._lecam(real_scores, fake_scores)
        return loss

    def _lecam(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            self.real_mean.lerp_(real.mean(), 1 - _SCORE_DECAY)
            self.fake_mean.lerp_(fake.mean(), 1 - _SCORE_DECAY)
        return (
            functional.relu(real - self.fake_mean).square().mean()
            + functional.relu(self.real_mean - fake).square().mean()
        )

    def _adapted(self, output: Tensor, reconstruction: Tensor, loss: Tensor) -> Tensor:
        (wanted,) = torch.autograd.grad(reconstruction, output, retain_graph=True)
        (felt,) = torch.autograd.grad(loss, output, retain_graph=True)
        return (wanted.norm() / (felt.norm() + 1e-6)).clamp(max=1e4).detach()

    def _scores(self, x: Tensor, frozen: bool = False) -> Tensor:
        x = self._arranged(x.float())
        if not frozen:
            return self.net(x)
        weights = {name: p.detach() for name, p in self.net.named_parameters()}
        return torch.func.functional_call(self.net, weights, (x,))

    def _arranged(self, x: Tensor) -> Tensor:
        """Channels second; frames join the batch where single frames are judged."""
        if self.layout == "BTD":
            return x.transpose(1, 2)
        if self.layout == "BTJC":
            return x.permute(0, 3, 1, 2)
        return x if self.settings.dims == 3 else x.transpose(1, 2).flatten(0, 1)
