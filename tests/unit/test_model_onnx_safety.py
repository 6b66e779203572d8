"""ONNX files that must not be loaded."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from contract.errors import InvalidModelError
from model_store.onnx_safety import check_onnx_files


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, dims=[1], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def write(folder: Path, *, location: str = "weights.bin", domain: str = "") -> None:
    """A graph with an external tensor inside the branch of an If, where it is easy to miss."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
        [external("w", location)],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["o"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)]
    model = helper.make_model(graph, opset_imports=opsets if domain else opsets[:1])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(b"\0\0\0\0")


def test_weights_beside_the_graph_are_fine(tmp_path: Path) -> None:
    write(tmp_path)
    check_onnx_files(tmp_path)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../b", "C:\\x"])
def test_weights_outside_the_folder_are_refused_by_name(tmp_path: Path, location: str) -> None:
    write(tmp_path, location=location)
    with pytest.raises(InvalidModelError, match=r"model\.onnx: tensor 'w'.*outside"):
        check_onnx_files(tmp_path)


def test_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder)
    (folder / "weights.bin").rename(tmp_path / "real.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "real.bin")
    with pytest.raises(InvalidModelError, match="symbolic link"):
        check_onnx_files(folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    write(tmp_path, location="gone.bin")
    with pytest.raises(InvalidModelError, match=r"'gone\.bin', which is missing"):
        check_onnx_files(tmp_path)


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    write(tmp_path, domain="com.example.evil")
    with pytest.raises(InvalidModelError, match=r"com\.example\.evil"):
        check_onnx_files(tmp_path)


@pytest.mark.parametrize("name", ["ops.so", "libops.so.1", "ops.dll", "inner/ops.dylib"])
def test_a_library_beside_the_model_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / name).write_bytes(b"\x7fELF")
    with pytest.raises(InvalidModelError, match="may not bring code"):
        check_onnx_files(tmp_path)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"session_options": {"custom_ops_library": "ops.so"}}, "custom_ops_library"),
        ({"run": [{"ep_library_path": "x"}]}, "ep_library_path"),
        ({"filename": "/etc/passwd"}, "filename"),
        ({"filename": "../model.onnx"}, "outside"),
        ({"session_options": {"optimized_model_filepath": "/tmp/x"}}, "outside"),
    ],
)
def test_a_configuration_that_names_code_or_outer_files_is_refused(
    tmp_path: Path, options: dict[str, object], named: str
) -> None:
    write(tmp_path)
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"decoder": options}}))
    with pytest.raises(InvalidModelError, match=named):
        check_onnx_files(tmp_path)


def test_a_file_that_is_not_onnx_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph at all")
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not an ONNX file"):
        check_onnx_files(tmp_path)
    assert onnx.__version__ >= "1.21"
