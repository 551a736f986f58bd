"""Check what is inside a .pt2 file before torch reads it: tensors and operators, and nothing that runs code.

torch.export.load trusts its file. It unpickles parts of it, accepts any function that torch can reach as an operator
(`torch.os.system`), evaluates sizes and guards as Python, and writes names into source code that it compiles. So everything in
the file has to match the patterns and lists below.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive._package import PT2ArchiveReader

from avizor_inference.errors import UnsafeFile

_PROGRAM = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
# A folder of tensors, its index, and the single pickle that older versions wrote instead of both.
_TENSORS = tuple(
    (f"data/{kind}/", f"data/{kind}/model_{kind}_config.json", f"data/{kind}/model.pt") for kind in ("weights", "constants")
)
_MEMBERS = re.compile(
    r"models/model\.json|data/sample_inputs/model\.pt|data/(weights|constants)/[\w.-]+|archive_format|archive_version|byteorder|"
    r"\.data/(version|serialization_id)|\.format_version|\.storage_alignment|extra/.*"
)
_TENSOR_FILE = re.compile(r"(?!custom_obj_|opaque_obj_)[\w-]+")

# No quote, bracket or line break: such text can neither call anything nor end a string.
_PLAIN = re.compile(r"[\w .+:/-]*")
_NAME = re.compile(r"\w[\w.]*|")
# Names of weights: a module's name may be any text without a dot. The code that torch writes has them between quotes.
_WEIGHT_NAME = re.compile(r"[\w. -]*")
_WEIGHT_NAMES = frozenset({"parameter_name", "buffer_name", "tensor_constant_name"})
_GUARD = re.compile(r"[\w .,()\[\]'<>=!+*/%&|~^-]*")
# Free text for torch, or an argument that is written as a quoted string.
_TEXTS = frozenset({"metadata", "as_string", "as_strings"})
_SPECS = frozenset({"in_spec", "out_spec"})
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", None})

_FUNCTION = re.compile(r"torch\._?sym_[a-z]+|math\.[a-z]\w*")
_PYTHON_OPERATOR = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_NAMESPACES = frozenset({"aten", "prims", "torchvision"})
_HIGHER_ORDER = frozenset({"cond", "while_loop", "scan", "wrap_with_set_grad_enabled", "wrap_with_autocast"})

# Functions of sympy and torch.utils._sympy, in which sizes are written.
_SIZE_FUNCTION = re.compile(
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|Abs|Eq|Equality|Ne|Unequality|Lt|Le|Gt|Ge|(Strict)?LessThan|"
    "(Strict)?GreaterThan|And|Or|Not|Piecewise|floor|ceiling|FloorDiv|ModularIndexing|Where|PythonMod|CleanDiv|CeilDiv|CeilToInt|"
    "FloorToInt|LShift|RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|TrueDiv|TruncToFloat|TruncToInt|RoundToInt|"
    "RoundDecimal|ToFloat|Identity|IsNonOverlappingAndDenseIndicator|cast_symbool_to_symint_guardless"
)
_SIZE_ATTRIBUTES = frozenset({"size", "stride", "storage_offset", "dtype", "device", "ndim", "shape"})
_SYMBOL = re.compile(r"[a-z]{1,3}\d+|L|args|true|false|True|False|oo|int_oo|inf|nan")
_ARITHMETIC = (ast.Compare, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
_SIZE_NODES = (*_ARITHMETIC, ast.Expression, ast.Load, ast.Subscript, ast.Tuple, ast.keyword)


def check_no_code(path: Path) -> None:
    """Raise UnsafeFile unless everything in the file is known to be safe.

    Raises ValueError, or the errors of zipfile, torch and json, if it is not a program that can be read.
    """
    with zipfile.ZipFile(path) as file:
        if "version" in file.namelist():  # torch then reads the old format, whatever else the file holds
            raise ValueError("it has the format of torch before 2.8")
    archive = PT2ArchiveReader(str(path))
    members = set(archive.get_file_names())
    if unknown := sorted(name for name in members if not _MEMBERS.fullmatch(name)):
        raise UnsafeFile(f"it holds {unknown[0]!r}, which does not belong to a program")
    if _PROGRAM not in members:
        raise ValueError("it holds no program named 'model'")
    _refuse_pickle(archive, _SAMPLE_INPUTS)
    for folder, config, legacy in _TENSORS:
        if legacy in members:
            _refuse_pickle(archive, legacy)
        else:
            _check_payloads(archive, folder, json.loads(archive.read_bytes(config)))
    _check(json.loads(archive.read_bytes(_PROGRAM)), "")


def _check_payloads(archive: PT2ArchiveReader, folder: str, document: Mapping[str, Any]) -> None:
    for name, payload in document["config"].items():
        file = payload["path_name"]
        if not _TENSOR_FILE.fullmatch(file):
            raise UnsafeFile(f"{name!r} is kept in {file!r} and is not a tensor")
        if payload["use_pickle"]:
            _refuse_pickle(archive, folder + file)


def _refuse_pickle(archive: PT2ArchiveReader, name: str) -> None:
    """Raise UnsafeFile unless torch can read the pickle with weights_only, a protection that loading a program does not use."""
    content = archive.read_bytes(name)
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged ones too: torch would read them again without that protection
        raise UnsafeFile(f"{name} is a pickle of more than tensors") from error


def _check(value: object, key: str) -> None:
    """Raise UnsafeFile unless a value of the program is known to be safe. How torch uses it depends on its key."""
    if key in _TEXTS:
        return
    if isinstance(value, Mapping):
        for inner_key, inner_value in value.items():
            _check_text(inner_key, "key")
            _check(inner_value, inner_key)
    elif isinstance(value, list):
        for element in value:
            _check(element, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        allowed = _is_operator(text)
    elif key in ("expr_str", "guards_code"):
        allowed = _is_size(text)
    elif key in _SPECS:
        allowed = all(map(_is_container, json.loads(text)[1:]))
    elif key == "key":  # a name, or the size that has a range
        allowed = bool(_NAME.fullmatch(text)) or _is_size(text)
    elif key in _WEIGHT_NAMES:
        allowed = bool(_WEIGHT_NAME.fullmatch(text))
    elif key.endswith(("name", "names")):
        allowed = bool(_NAME.fullmatch(text))
    else:
        allowed = bool(_PLAIN.fullmatch(text))
    if not allowed:
        what = "operator" if key in ("target", "as_operator") else key or "text"
        raise UnsafeFile(f"its {what} {text[:80]!r} is not allowed in a network")


def _is_operator(target: str) -> bool:
    if _PYTHON_OPERATOR.fullmatch(target) or _FUNCTION.fullmatch(target):
        return True
    names = target.split(".")
    if names[:2] != ["torch", "ops"] or len(names) not in (4, 5):
        return False
    if names[2] == "higher_order":
        return len(names) == 4 and names[3] in _HIGHER_ORDER
    if names[2] not in _NAMESPACES or len(names) != 5:
        return False
    operator = getattr(getattr(getattr(torch.ops, names[2]), names[3], None), names[4], None)
    if not isinstance(operator, torch._ops.OpOverload):
        return False
    return all(argument.name != "filename" for argument in operator._schema.arguments)


def _is_size(text: str) -> bool:
    """Return whether the text is arithmetic of sizes, with known names, functions and attributes only."""
    if not _GUARD.fullmatch(text):
        return False
    try:
        return all(map(_is_size_node, ast.walk(ast.parse(text, mode="eval"))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_size_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        return isinstance(function, ast.Attribute) or (
            isinstance(function, ast.Name) and bool(_SIZE_FUNCTION.fullmatch(function.id))
        )
    if isinstance(node, ast.Name):
        return bool(_SIZE_FUNCTION.fullmatch(node.id) or _SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Attribute):
        return node.attr in _SIZE_ATTRIBUTES
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or bool(_NAME.fullmatch(node.value))
    return isinstance(node, _SIZE_NODES)


def _is_container(spec: Mapping[str, Any]) -> bool:
    """Return whether a node of a tree of arguments or results is a tuple, a list, or a dict, whose keys its context holds."""
    keys = json.loads(spec["context"] or "null") or ()
    plain = all(isinstance(key, str) and _PLAIN.fullmatch(key) for key in keys)
    return spec["type"] in _CONTAINERS and plain and all(map(_is_container, spec["children_spec"]))
