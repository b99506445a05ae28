"""What can be wrong with a bundle or a configuration: one error kind for each cause."""

from __future__ import annotations

from foveal.types import FovealError


class BundleError(FovealError):
    """A bundle cannot be used; the subclass says why."""

    kind = "bundle_error"


class BundleMissingError(BundleError):
    """There is no file where the bundle should be, or it cannot be read."""

    kind = "bundle_missing"


class BundleInvalidError(BundleError):
    """The file is not a bundle, or its manifest breaks a rule."""

    kind = "bundle_invalid"


class BundleTamperedError(BundleError):
    """The content does not match the manifest's size or hash, or reaches outside the archive."""

    kind = "bundle_tampered"


class BundleTooNewError(BundleError):
    """The manifest has a schema that this version of Foveal does not know."""

    kind = "bundle_too_new"


class ConfigError(FovealError):
    """A configuration has an unknown key, a missing one, or a value of the wrong type."""

    kind = "config_invalid"
