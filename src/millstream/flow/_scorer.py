"""A trained model as a function from a row of numbers to a score. The only place that loads onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.flow._model_card import CARD_KEY, ModelCard, read_card
from millstream.kernel import ConfigError, needs_extra

DIGITS = 6  # after the point: what two processors agree on


class Scorer:
    """`scores` takes rows of the inputs in the order of the card. One thread: a node has other work."""

    def __init__(self, data: bytes, where: str) -> None:
        """Raises ConfigError: MS-0716 for what is no model, MS-0106 without onnxruntime."""
        with needs_extra("a flow of type model", "models"):
            import numpy as np
            import onnxruntime
        self._np = np
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library has a class for each of its own errors, and no parent of them
            raise ConfigError("not a model", where=where, got=str(error)[:120], code="MS-0716") from error
        self.card: ModelCard = read_card(self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY), where)
        self._input = self._fitting_input(where)

    def _fitting_input(self, where: str) -> str:
        inputs, outputs = self._session.get_inputs(), [each.name for each in self._session.get_outputs()]
        wanted = f"tensor(float) with {len(self.card.inputs)} columns, and an output {self.card.output!r}"
        shape = inputs[0].shape if len(inputs) == 1 else []
        is_fitting = len(shape) == 2 and shape[1] == len(self.card.inputs) and inputs[0].type == "tensor(float)"
        if not is_fitting or self.card.output not in outputs:
            raise ConfigError(
                "the model is not what its card says", where=where, expected=wanted,
                got=", ".join([*(f"{each.type} {each.shape}" for each in inputs), *outputs])[:120], code="MS-0716",
            )  # fmt: skip
        return str(inputs[0].name)

    def scores(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Of each row."""
        [found] = self._session.run([self.card.output], {self._input: self._np.array(rows, dtype="float32")})
        card = self.card
        return [round(card.offset + card.scale * float(value), DIGITS) for value in self._np.ravel(found)]
