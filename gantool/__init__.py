"""gantool: super-resolution, image translation and image generation with GANs.

`load`, `read` and `write` are all that Python needs; they are imported when first used, so that `import gantool` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Model", "Picture", "__version__", "load", "read", "write"]

if TYPE_CHECKING:
    from gantool.api import Model, Picture, load, read, write


def __getattr__(name: str) -> object:
    if name in __all__:
        from gantool import api

        return getattr(api, name)
    raise AttributeError(f"module 'gantool' has no attribute '{name}'")
