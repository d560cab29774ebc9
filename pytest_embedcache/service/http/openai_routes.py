"""`/v1/`: what a client of OpenAI's embeddings endpoint asks for and gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pytest_embedcache.errors import EmptyTextError, UnknownModelError
from pytest_embedcache.service.http import answers, schemas
from pytest_embedcache.service.http.bodies import parsed
from pytest_embedcache.service.http.figures import Figures
from pytest_embedcache.service.http.limits import Limits
from pytest_embedcache.service.http.refusals import RefusalError
from pytest_embedcache.service.openai_protocol import ServiceError, columns_of, parse, without_model

if TYPE_CHECKING:
    from pytest_embedcache.service.embedder import EmbedderService

__all__ = ["router"]

_KNOWN = {"input", "model", "dimensions", "encoding_format", "user"}


def router(service: EmbedderService, limits: Limits, figures: Figures) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.post("/embeddings", response_class=Response, openapi_extra=schemas.OPENAI)
    async def embeddings(request: Request) -> Response:
        """OpenAI's endpoint; texts are in the role of documents."""
        body = _body(await request.body())
        asked = parse(body, max_inputs=limits.texts, empty=True)
        texts = [text for text in asked.inputs if isinstance(text, str)]
        if len(texts) < len(asked.inputs):
            raise ServiceError(
                400,
                "This server takes texts, not tokens: it does not know whose tokens these are. "
                "With LangChain's OpenAIEmbeddings set check_embedding_ctx_length=False.",
                param="input",
                code="tokens_not_supported",
            )
        cut = asked.dimensions
        if cut is not None and (type(cut) is not int or cut < 1):
            columns_of(cut, asked.model, 1)  # raises
        try:
            found = await service.embed_batch(texts, asked.model, dimensions=cut)
        except EmptyTextError as error:
            raise ServiceError(400, str(error), param="input") from None
        except UnknownModelError as error:
            raise without_model(error.model) from None
        except ValueError as error:
            if cut is None:
                raise
            raise ServiceError(400, str(error), param="dimensions", code="invalid_value") from None
        rows = found.embeddings
        return await answers.openai(asked.model, rows, found.tokens, base64=asked.base64)

    @routes.get("/models")
    async def models() -> Response:
        """The models that may be asked for, as OpenAI lists its own."""
        listed = [_model(facts) for facts in service.get_available_models().values()]
        return answers.as_json({"object": "list", "data": listed})

    @routes.get("/models/{model:path}", response_class=Response, openapi_extra=schemas.OPENAI_MODEL)
    async def model(model: str) -> Response:
        """One of them; its name may have a slash in it."""
        try:
            return answers.as_json(_model(service.describe_model(model)))
        except UnknownModelError as error:
            raise without_model(error.model) from None

    return routes


def _model(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": facts["name"], "object": "model", "created": 0, "owned_by": facts["provider"]}


def _body(raw: bytes) -> Any:
    try:
        body = parsed(raw)
    except RefusalError as error:
        raise ServiceError(400, f"We could not parse your request: {error}.") from None
    if isinstance(body, dict) and (unknown := body.keys() - _KNOWN):
        name = min(unknown)
        message = f"Unrecognized request argument supplied: {name}"
        raise ServiceError(400, message, param=name, code="unknown_parameter")
    return body
