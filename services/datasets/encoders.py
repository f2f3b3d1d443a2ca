"""Every encoder by its type; a new one is a file of its own and a line here."""

from services.datasets.choices import Choices
from services.datasets.columns import TableEncoding
from services.datasets.encoding import Encoder
from services.datasets.sound import Spectrogram
from services.datasets.words import Characters, TextVectorization

ENCODERS: dict[str, type[Encoder]] = {
    encoder.type: encoder for encoder in (TableEncoding, TextVectorization, Characters, Spectrogram, Choices)
}
