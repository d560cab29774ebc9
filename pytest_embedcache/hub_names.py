"""Names that stand at the root of the Hub, from before it had organisations.

A name without an organisation means one of sentence-transformers' own models, unless it is one of
these: the same rule as in sentence-transformers, which a test compares.
"""

from __future__ import annotations

__all__ = ["ROOT_NAMES"]

#: family -> what follows it
_FAMILIES = {
    "albert-": "base-v1 base-v2 large-v1 large-v2 xlarge-v1 xlarge-v2 xxlarge-v1 xxlarge-v2",
    "bert-base-": (
        "cased cased-finetuned-mrpc chinese german-cased german-dbmdz-cased german-dbmdz-uncased "
        "multilingual-cased multilingual-uncased uncased"
    ),
    "bert-large-": (
        "cased cased-whole-word-masking cased-whole-word-masking-finetuned-squad uncased "
        "uncased-whole-word-masking uncased-whole-word-masking-finetuned-squad"
    ),
    "distilbert-base-": (
        "cased cased-distilled-squad german-cased multilingual-cased uncased "
        "uncased-distilled-squad uncased-finetuned-sst-2-english"
    ),
    "roberta-": "base base-openai-detector large large-mnli large-openai-detector",
    "t5-": "11b 3b base large small",
    "xlm-clm-": "ende-1024 enfr-1024",
    "xlm-mlm-": (
        "100-1280 17-1280 en-2048 ende-1024 enfr-1024 enro-1024 tlm-xnli15-1024 xnli15-1024"
    ),
    "xlm-roberta-": (
        "base large large-finetuned-conll02-dutch large-finetuned-conll02-spanish "
        "large-finetuned-conll03-english large-finetuned-conll03-german"
    ),
    "xlnet-": "base-cased large-cased",
    "": (
        "camembert-base ctrl distilgpt2 distilroberta-base gpt2 gpt2-large gpt2-medium gpt2-xl "
        "openai-gpt transfo-xl-wt103"
    ),
}

ROOT_NAMES = frozenset(
    family + member for family, members in _FAMILIES.items() for member in members.split()
)
