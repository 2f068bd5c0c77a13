# SPDX-License-Identifier: Apache-2.0
"""Typed configuration: nested dataclasses filled from YAML, unknown keys refused with the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

import yaml

from selfocc_ros.errors import SelfOccError
from selfocc_ros.resources import resource

T = TypeVar("T")


class ConfigError(SelfOccError, ValueError):
    """A configuration has an unknown key, a missing key or a value of the wrong type."""


def nearest_hint(key: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known key most like ``key``; otherwise the list of known keys."""
    names = list(known)
    match = difflib.get_close_matches(key, names, n=1)
    return f" (did you mean {match[0]!r}?)" if match else f" (known: {', '.join(sorted(names))})"


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``cls`` from plain ``values``; ``where`` names the file in error messages.

    Lists become tuples, integers become floats where a float is declared, nested mappings become nested dataclasses.

    Raises:
        ConfigError: for an unknown key, a missing key without default, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}{nearest_hint(str(key), fields)}.")
        filled[key] = _convert(hints[key], value, f"{where}: {key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in filled:
            raise ConfigError(f"{where}: key {name!r} is missing.")
    return cls(**filled)


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain nested dictionary of a configuration dataclass; the inverse of ``from_mapping``."""
    return dataclasses.asdict(config)


def read_yaml(path: Path) -> dict[str, Any]:
    """Mapping stored in a YAML file.

    Raises:
        ConfigError: if the file is missing, not YAML, or not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({str(error).splitlines()[0]}).") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {type(values).__name__}.")
    return values


def config_path(folder: str, name_or_path: str) -> Path:
    """The YAML file of a configuration.

    Args:
        folder: where the project keeps such files, ``config/models``.
        name_or_path: name of a file there without its ending, or the path of any YAML file.

    Raises:
        ConfigError: if there is no file of that name.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = resource(folder) / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(entry.stem for entry in path.parent.glob("*.yaml")))
            raise ConfigError(f"{folder} has no {name_or_path!r} (known: {known}); a path must end in .yaml.")
    return path


def load_config(cls: type[T], folder: str, name_or_path: str) -> T:
    """Read a YAML file into the dataclass ``cls``; ``folder`` and ``name_or_path`` as for ``config_path``.

    Raises:
        ConfigError: if there is no such file, or it has unknown keys or values of the wrong type.
    """
    path = config_path(folder, name_or_path)
    return from_mapping(cls, read_yaml(path), path.name)


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _convert(options[0], value, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a mapping, found {value!r}.")
        return from_mapping(typing.cast("type[Any]", kind), value, where)
    if origin is tuple:
        arguments = typing.get_args(kind)
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, found {value!r}.")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where) for item in value)
        if len(arguments) != len(value):
            raise ConfigError(f"{where} must be a list of {len(arguments)} values, found {len(value)}.")
        return tuple(_convert(argument, item, where) for argument, item in zip(arguments, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and kind is not bool:
        raise ConfigError(f"{where} must be {kind.__name__}, found {value!r}.")
    if not isinstance(value, kind):
        raise ConfigError(f"{where} must be {kind.__name__}, found {value!r}.")
    return value
