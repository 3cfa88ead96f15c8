"""What plug-ins import, and the only promise about import paths.

Everything else below ``bench`` may move between versions. The names stand in ``api.pyi`` and are
looked up when they are first used: importing from here imports neither torch nor pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub("bench", __file__)
