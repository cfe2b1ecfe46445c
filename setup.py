"""Which packages are installed; everything else about the distribution is in pyproject.toml."""

from __future__ import annotations

from setuptools import find_namespace_packages, setup

setup(
    # Namespace packages: `hydra_plugins` is shared by all Hydra plugins and has no __init__.py.
    packages=find_namespace_packages(include=["trainctl*", "hydra_plugins.*"], exclude=["*__pycache__*"]),
    # Looks like a no-op, is not: it makes an editable install one path line in a .pth file. Without it setuptools
    # installs an import hook for this flat layout, which Hydra's plugin scan (pkgutil.walk_packages) cannot list.
    package_dir={"": "."},
    package_data={
        "trainctl": ["py.typed", "**/*.yaml", "**/*.css", "**/*.js"],
        "hydra_plugins.hydra_trainctl": ["**/*.yaml"],
    },
)
