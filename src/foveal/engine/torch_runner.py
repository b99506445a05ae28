"""The PyTorch runner: the same calls on the training modules, on any device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from foveal.bundle import MacTable, look_up_macs
from foveal.engine.runners import RunnerError, find_part, rows_of, split_rows
from foveal.types import Array, PartSpec

_DTYPES = {"uint8": torch.uint8, "int64": torch.int64, "float32": torch.float32}


class TorchRunner:
    """Runs parts as PyTorch modules, in evaluation mode and without gradients.

    Args:
        modules: one for each part; they are moved to ``device`` and set to evaluation mode.
        specs: of the same parts.
        macs: counted MACs of one row for each part, as the exporter gives them.
        device: where the parts run.
        keep_on_device: names of outputs that only parts read. They stay on the device: what
            is handed back for them is a tensor, to be passed on to calls and nothing else.

    Raises:
        ValueError: modules, specs and MAC tables are not of the same parts, or no part has
            an output named in ``keep_on_device``.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        specs: Mapping[str, PartSpec],
        macs: Mapping[str, MacTable],
        *,
        device: str | torch.device = "cpu",
        keep_on_device: frozenset[str] = frozenset(),
    ) -> None:
        if not (modules.keys() == specs.keys() == macs.keys()):
            raise ValueError(
                f"modules {sorted(modules)}, specs {sorted(specs)} and MAC tables {sorted(macs)} "
                "must name the same parts"
            )
        unknown = keep_on_device - {t.name for spec in specs.values() for t in spec.outputs}
        if unknown:
            raise ValueError(f"no part has an output named {sorted(unknown)}")
        self.specs = specs
        self._macs = macs
        self._device = torch.device(device)
        self._keep = keep_on_device
        self._modules = {name: m.to(self._device).eval() for name, m in modules.items()}

    def load(self, part: str) -> None:
        """Do nothing: the modules are on the device already; see :meth:`Runner.load`."""
        find_part(self.specs, part)

    @torch.inference_mode()
    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call; see :meth:`foveal.engine.runners.Runner.run`."""
        spec = find_part(self.specs, part)
        rows = rows_of(spec, calls)
        inputs = [self._join(spec, i, calls) for i in range(len(spec.inputs))]
        try:
            result = self._modules[part](*inputs)
        except RuntimeError as error:
            cause = " ".join(str(error).split())
            raise RunnerError(
                f"part {part!r} failed ({cause})", hint="check the shapes and the device's memory"
            ) from error
        outputs = (result,) if isinstance(result, Tensor) else tuple(result)
        if len(outputs) != len(spec.outputs):
            raise ValueError(f"part {part!r} gave {len(outputs)} of {len(spec.outputs)} outputs")
        handed = [
            cast(Array, output) if tensor.name in self._keep else output.cpu().numpy()
            for tensor, output in zip(spec.outputs, outputs, strict=True)
        ]
        return split_rows(spec, handed, rows)

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return the MACs of one row; see :meth:`foveal.engine.runners.Runner.macs`."""
        spec = find_part(self.specs, part)
        return look_up_macs(part, self._macs[part], spec.bind(shapes))

    def _join(self, spec: PartSpec, index: int, calls: Sequence[tuple[Array, ...]]) -> Tensor:
        tensor = spec.inputs[index]
        wanted = _DTYPES[tensor.dtype]
        joined = [_as_tensor(call[index]) for call in calls]
        if any(t.dtype != wanted for t in joined):
            found = ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in joined}))
            raise ValueError(f"{spec.name}.{tensor.name} takes {tensor.dtype}, got {found}")
        on_device = [t.to(self._device) for t in joined]
        return on_device[0] if len(on_device) == 1 else torch.cat(on_device)


def _as_tensor(array: Array | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array
    # PyTorch cannot promise not to write, and warns of arrays it may not write to.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
