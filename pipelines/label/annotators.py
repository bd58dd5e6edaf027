"""Annotators, which answer the questions of a task: one kind for each backend."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from gristmill.operators.base import PositiveCount, digest_of
from gristmill.operators.label.task import TaskSection


class Annotator(TaskSection):
    """Fields of all annotators. Answers are stored under the name."""

    free: ClassVar[bool] = False  #: whether its questions take no tokens
    may_be_folder: ClassVar[bool] = True  #: whether the model may be a folder here

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="under which its answers are stored")
    model: str = Field(min_length=1, description="the model: a folder, a hub's id, or what the endpoint calls it")
    revision: str | None = Field(default=None, description="commit, tag or date that tells two states of a model apart")
    max_output_tokens: int | None = Field(
        default=None, gt=0, description="tokens of one answer at most; by default what the kind of answer needs"
    )


class HttpAnnotator(Annotator):
    """A model behind an OpenAI-compatible endpoint."""

    may_be_folder: ClassVar[bool] = False

    engine: Literal["http"]
    base_url: str = Field(
        pattern=r"^(https?://|\$\{)",  # the second for editors, which see ${NAME} unresolved
        description="up to and with /v1, as OpenAI clients take it",
    )
    api_key: str | None = Field(default=None, description="sent as a bearer token; write it as ${NAME}")
    concurrency: int = Field(default=64, gt=0, description="requests in flight at most")
    timeout: float = Field(default=120.0, gt=0, description="seconds that one request may take")
    retries: int = Field(default=6, ge=0, description="how often one document is tried again after a passing failure")
    tokenizer: str | None = Field(
        default=None, description="folder, tokenizer.json or hub id of the model's tokenizer; else tokens are estimated"
    )
    logprobs: bool = Field(default=True, description="ask for log-probabilities, where the endpoint has them")
    extra: dict[str, Any] = Field(default={}, description="more keys of the request's body, such as reasoning_effort")


class TransformersAnnotator(Annotator):
    """A model in this process (or in Ray's workers), by transformers and torch."""

    engine: Literal["transformers"] = "transformers"
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(default="auto", description="of the weights")
    batch_tokens: int = Field(default=16_384, gt=0, description="tokens of one forward pass at most, padding counted")
    replicas: int = Field(default=1, gt=0, description="on Ray: how many workers hold the model")


class VllmAnnotator(Annotator):
    """A model served by vLLM inside Ray Data; needs a Ray cluster."""

    engine: Literal["vllm"]
    engine_kwargs: dict[str, Any] = Field(default={}, description="vLLM's own engine arguments")
    tensor_parallel: int = Field(default=1, gt=0, description="GPUs that one replica is spread over")
    replicas: int = Field(default=1, gt=0, description="how many engines run side by side")
    accelerator: str | None = Field(default=None, description="kind of GPU, as Ray calls it (A100, H100, ...)")
    placement: dict[str, float] = Field(
        default={"GPU": 1.0}, description="resources of one vLLM worker; {CPU: 1} for vLLM on a CPU"
    )
    batch_size: int = Field(default=64, gt=0, description="documents that travel together to an engine")
    env: dict[str, str] = Field(default={}, description="environment variables of the engine's process")


class KeywordsAnnotator(Annotator):
    """Words and regular expressions that stand for labels; it abstains where a text has none of them."""

    free: ClassVar[bool] = True
    may_be_folder: ClassVar[bool] = False

    engine: Literal["keywords"]
    model: str = Field(default="keywords", min_length=1, description="what the store calls it")
    words: dict[str, Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)]] = Field(
        min_length=1, description="label: words, phrases, or expressions after `re:`"
    )


class SimilarityAnnotator(Annotator):
    """The likeness of a text to what the labels of a choice mean; it abstains where two are about as near.

    A label means the words of its name and definition, and those of the texts of a corpus that are most like it.
    """

    free: ClassVar[bool] = True
    may_be_folder: ClassVar[bool] = False

    engine: Literal["similarity"]
    model: str = Field(default="similarity", min_length=1, description="what the store calls it")
    corpus: str = Field(min_length=1, description="files of texts like those to label, a path or a glob")
    field: str = Field(default="text", min_length=1, description="field of the corpus that holds the text")
    documents: PositiveCount = Field(default=20_000, description="texts of the corpus that are looked at, at most")
    abstain: float = Field(default=0.2, ge=0, lt=1, description="share of the corpus on which it says nothing")


def _engine(value: Any) -> str:
    """Return the tag of an annotator: of no `engine`, the backend that needs neither endpoint nor cluster."""
    named = value.get("engine", "transformers") if isinstance(value, dict) else getattr(value, "engine", None)
    return f"annotator[{named}]"


ENGINES = ("http", "transformers", "vllm", "keywords", "similarity")
AnyAnnotator = Annotated[
    Annotated[HttpAnnotator, Tag("annotator[http]")]
    | Annotated[TransformersAnnotator, Tag("annotator[transformers]")]
    | Annotated[VllmAnnotator, Tag("annotator[vllm]")]
    | Annotated[KeywordsAnnotator, Tag("annotator[keywords]")]
    | Annotated[SimilarityAnnotator, Tag("annotator[similarity]")],
    Discriminator(
        _engine,
        custom_error_type="engine",
        custom_error_message="Input should name an engine that there is: " + ", ".join(ENGINES),
    ),
]


def revision_of(annotator: Annotator, found: str | None = None) -> str:
    """Return the model revision that answers are stored under.

    found: what the backend knows of the model itself (a commit, a digest of its files); if it knows nothing, the
    model's name stands for it. A folder's name has no part in it if its files have.
    """
    return digest_of([annotator.revision, found or annotator.model])[:16]
