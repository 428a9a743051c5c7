"""Makes `references/real.json`: what transformers computes with fetched weights.

    python launch.py fetch minilm smollm2 state-of-the-union
    python tests/pretrained/make_real_references.py

It needs torch, transformers and gguf (made with 2.13 on CPU, 5.24.0 and 0.19.0).
"""

import json
import tarfile
from pathlib import Path

import torch
from tiny_checkpoints import REFERENCES
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from attn.pretrained import fetched
from attn.tasks.packages import archive

SENTENCES = (
    "The animal did not cross the street because it was too tired.",
    "Worn out, the dog stayed on this side of the road.",
    "She sat down on the bank of the river.",
    "He paid the money into his account at the bank.",
    "Attention weighs every key by its product with a query.",
    "Rain is expected in the mountains tomorrow morning, and snow above 2,000 metres.",
)
PROMPT = "The history of the State of the Union address begins in 1790, when"
NEW_TOKENS = 24
TEXT_BYTES = 600
"""Bytes of the newest address of the package `state-of-the-union` that are scored."""


def similarities(folder: Path) -> list[list[float]]:
    """Cosines of the mean states of the sentences, as the model's card computes them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    given = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    return (means @ means.T).double().numpy().round(7).tolist()


def address() -> str:
    """The beginning of the newest address."""
    with tarfile.open(archive("state-of-the-union")) as tar:
        names = sorted(n for n in tar.getnames() if n.endswith(".txt"))
        name = max(names, key=lambda n: n.rpartition("/")[2])
        file = tar.extractfile(name)
        assert file is not None
        return file.read(TEXT_BYTES).decode(errors="ignore")


def causal(folder: Path) -> dict:
    """Bits per byte of the address, and the greedy continuation of the prompt."""
    (file,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, attn_implementation="eager", dtype=torch.float32
    ).eval()
    text = address()
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    prompt = tokenizer(PROMPT, return_tensors="pt")
    with torch.no_grad():
        loss = model(tokens, labels=tokens).loss.item()
        made = model.generate(**prompt, max_new_tokens=NEW_TOKENS, do_sample=False)
    bits = loss * (tokens.shape[1] - 1) / torch.log(torch.tensor(2.0)).item()
    return {
        "text": text,
        "num_tokens": tokens.shape[1],
        "bits_per_byte": bits / len(text.encode()),
        "prompt": PROMPT,
        "tokens": made[0].tolist(),
        "continued": tokenizer.decode(made[0]),
    }


if __name__ == "__main__":
    found = {
        "minilm": {
            "sentences": SENTENCES,
            "similarities": similarities(fetched("minilm")),
        },
        "smollm2": causal(fetched("smollm2")),
    }
    (REFERENCES / "real.json").write_text(json.dumps(found, indent=1) + "\n")
