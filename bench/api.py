"""The public interface for plug-ins; only import paths from here are stable.

Other modules of ``bench`` may move between versions. The names are listed in ``api.pyi`` and loaded
on first use, so that importing from here imports neither torch nor pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub("bench", __file__)
