"""The rows of the table of models: one small entry each. `{packages}` in a command is where the package's files are."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM, SHIPPED = "random", "shipped"


@dataclass(frozen=True)
class Row:
    """Describes one model of the table and its export.

    kind: what kind of network it is. package: where it is from. weights: random, shipped, or what they were fitted on. network,
    options: of the command; `--name`, `--models`, `--task classify` and the labels are added. classes: 0 for an autoencoder,
    which is exported with --task reconstruct. prepare: a call in tablenets.py that writes a file first. refused: why export is
    expected to refuse it; empty if it should not.
    """

    name: str
    kind: str
    package: str
    network: str
    options: str
    classes: int
    weights: str = RANDOM
    prepare: str = ""
    refused: str = ""


def _picture(size: int, channels: int = 3) -> str:
    return f"--input image:height={size},width={size},channels={channels}"


IMAGENET = "mean=0.485/0.456/0.406,std=0.229/0.224/0.225"


def _torchvision(name: str, kind: str, size: int = 224, settings: str = "") -> Row:
    options = f"--set name={name} --set size={size}{settings} --weights-in-factory {_picture(size)},{IMAGENET}"
    return Row(name, kind, "torchvision", "tablenets:of_torchvision", options, 1000)


def _timm(name: str, kind: str) -> Row:
    return Row(f"timm {name}", kind, "timm", "tablenets:of_timm", f"--set name={name} --weights-in-factory", 1000)


def _zoo(name: str, kind: str, bgr: bool = False) -> Row:
    file = f"{{packages}}/onnx/backend/test/data/light/light_{name}.onnx"
    order = ",order=bgr,range=0..255,mean=104/117/123" if bgr else f",{IMAGENET}"
    return Row(f"onnx {name}", kind, "onnx", file, f"--free-batch {_picture(224)}{order}", 1000, "shipped, constant")


def _design(name: str, kind: str, design: str, shape: tuple[int, ...], classes: int, description: str) -> Row:
    file = name.replace(" ", "-") + ".pt"
    prepare = f"save_design({file!r}, {design!r}, {shape}, {classes})"
    return Row(name, kind, "avizor", design, f"--weights {file} --input {description}", classes, prepare=prepare)


def _net(name: str, kind: str, factory: str, classes: int, options: str) -> Row:
    return Row(name, kind, "benchmarks/tablenets.py", f"tablenets:{factory}", f"--weights-in-factory {options}", classes)


def _sklearn(name: str, kind: str, estimator: str) -> Row:
    prepare, options = f"save_sklearn('{estimator}.onnx', {estimator!r})", "--output probabilities"
    fitted = "fitted on scikit-learn's digits"
    return Row(f"scikit-learn {name}", kind, "skl2onnx", f"{estimator}.onnx", options, 10, fitted, prepare)


def _shipped(name: str, kind: str, file: str, options: str, classes: int, refused: str = "") -> Row:
    return Row(name, kind, file.partition("/")[0], "{packages}/" + file, options, classes, SHIPPED, refused=refused)


_SOUND = "--input audio:sample_rate=16000,window_samples=16000,hop_samples=16000"
_OCR = "mean=0.5,std=0.5,order=bgr"

ROWS = (
    _design("lenet", "LeNet", "lenet", (1, 32, 32), 10, "image:height=32,width=32,channels=1"),
    _torchvision("alexnet", "plain convolutions"),
    _torchvision("vgg11_bn", "plain convolutions"),
    _torchvision("resnet18", "residual"),
    _torchvision("resnet50", "residual"),
    _torchvision("resnext50_32x4d", "residual"),
    _torchvision("regnet_y_400mf", "residual"),
    _torchvision("densenet121", "dense"),
    _torchvision("googlenet", "inception", settings=" --set init_weights=false --set aux_logits=false"),
    _torchvision("inception_v3", "inception", 299, " --set init_weights=false --set aux_logits=false"),
    _torchvision("squeezenet1_1", "mobile"),
    _torchvision("mobilenet_v2", "mobile"),
    _torchvision("mobilenet_v3_small", "mobile"),
    _torchvision("shufflenet_v2_x1_0", "mobile"),
    _torchvision("mnasnet0_5", "mobile"),
    _torchvision("efficientnet_b0", "mobile"),
    _torchvision("convnext_tiny", "ConvNeXt"),
    _torchvision("vit_b_16", "vision transformer"),
    _torchvision("swin_t", "vision transformer"),
    _torchvision("maxvit_t", "vision transformer"),
    _timm("convnext_atto", "ConvNeXt"),
    _timm("vit_tiny_patch16_224", "vision transformer"),
    _timm("mixer_s32_224", "image perceptron"),
    _timm("mobilevit_xxs", "mobile"),
    _timm("ghostnet_100", "mobile"),
    _timm("repvgg_a0", "plain convolutions"),
    _timm("tf_efficientnetv2_b0", "mobile"),
    _timm("poolformer_s12", "vision transformer"),
    _timm("edgenext_xx_small", "ConvNeXt"),
    Row(
        "mobilenet_v3_small as .pt2",
        "exported program",
        "torchvision",
        "mobilenet.pt2",
        _picture(96),
        10,
        prepare="save_program('mobilenet.pt2')",
    ),
    Row(
        "squeezenet1_1 as torch.onnx.export writes it",
        "ONNX file of batch 1",
        "torchvision",
        "squeezenet.onnx",
        f"--free-batch {_picture(96)}",
        10,
        prepare="save_legacy_onnx('squeezenet.onnx')",
    ),
    Row(
        "resnet18, multi-label",
        "multi-label",
        "torchvision",
        "tablenets:of_torchvision",
        f"--set name=resnet18 --set size=96 --set num_classes=8 --weights-in-factory --activation sigmoid {_picture(96)}",
        8,
    ),
    _net("one logit", "binary, one logit", "one_logit", 2, _picture(32, 1)),
    _net("a dict of outputs", "several outputs", "dict_output", 4, f"--output clipwise_output {_picture(32)}"),
    Row(
        "fcn_resnet50",
        "segmentation",
        "torchvision",
        "torchvision.models.segmentation:fcn_resnet50",
        f"--set weights_backbone=null --weights-in-factory --output out {_picture(64)}",
        21,
        refused="a map of classes is no classifier's answer",
    ),
    _zoo("bvlc_alexnet", "ONNX file of batch 1", bgr=True),
    _zoo("zfnet512", "ONNX file of batch 1", bgr=True),
    _zoo("vgg19", "ONNX file of batch 1", bgr=True),
    _zoo("inception_v1", "ONNX file of batch 1", bgr=True),
    _zoo("inception_v2", "ONNX file of batch 1", bgr=True),
    _zoo("squeezenet", "ONNX file of batch 1", bgr=True),
    _zoo("densenet121", "ONNX file of batch 1"),
    _zoo("resnet50", "ONNX file of batch 1"),
    _zoo("shufflenet", "ONNX file of batch 1"),
    Row(
        "resnet18 in int8 (QDQ)",
        "quantised ONNX file",
        "onnxruntime",
        "quantised.onnx",
        _picture(64),
        10,
        prepare="save_quantised('quantised.onnx')",
    ),
    _shipped("magika", "content type of files", "magika/models/standard_v3_3/model.onnx", "", 214),
    _shipped(
        "rapidocr, direction of text (v2)",
        "OCR",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        f"--input image:height=48,width=192,channels=3,{_OCR}",
        2,
    ),
    _shipped(
        "rapidocr, finds text (v4)",
        "OCR",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        f"--input image:height=320,width=320,channels=3,{_OCR}",
        2,
        "a map of where text is, is no classifier's answer",
    ),
    _shipped(
        "rapidocr, reads text (v4)",
        "OCR",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        f"--input image:height=48,width=320,channels=3,{_OCR}",
        6625,
        "a letter for each step is no classifier's answer",
    ),
    _shipped("nudenet", "object detection", "nudenet/320n.onnx", _picture(320), 22, "boxes are no classifier's answer"),
    _shipped(
        "ddddocr, finds words",
        "object detection",
        "ddddocr/common_det.onnx",
        f"--free-batch {_picture(416)}",
        6,
        "boxes are no classifier's answer",
    ),
    _shipped("silero-vad", "speech detection", "silero_vad/data/silero_vad.onnx", "", 2, "it takes several tensors"),
    _design(
        "image autoencoder",
        "image autoencoder",
        "conv16s2bn conv32s2bn conv64s2bn latent24",
        (1, 64, 64),
        0,
        "image:height=64,width=64,channels=1",
    ),
    _net("U-Net", "image autoencoder", "unet", 0, _picture(64)),
    _net("DnCNN", "denoising", "dncnn", 0, _picture(48, 1)),
    _design(
        "super-resolution",
        "super-resolution",
        "conv64k5bn conv32x2bn shuffle2",
        (3, 32, 32),
        0,
        "image:height=32,width=32,channels=3",
    ),
    _net("log-mel CNN", "sound, log-mel", "log_mel_cnn", 10, f"{_SOUND},n_fft=512,hop_length=160,n_mels=64"),
    _net(
        "log-mel CNN after PANNs",
        "sound, log-mel",
        "log_mel_cnn",
        10,
        "--input audio:window_samples=64000,hop_samples=64000,preset=panns,layout=NCFT",
    ),
    _net("ResNet-18 of log-mels", "sound, log-mel", "resnet_of_log_mels", 10, f"{_SOUND},n_fft=512,hop_length=160,n_mels=64"),
    _net("CNN of MFCC", "sound, MFCC", "log_mel_cnn", 10, f"{_SOUND},front_end=mfcc,preset=kaldi,layout=NCFT"),
    _net("M5", "raw waveform", "waveform_net_of_channels", 35, f"{_SOUND},front_end=none"),
    _net("M5 without channels", "raw waveform", "waveform_net", 35, f"{_SOUND},front_end=none,layout=NS"),
    _design(
        "sound autoencoder",
        "sound autoencoder",
        "conv8s2bn conv16s2bn latent16",
        (1, 64, 48),
        0,
        "audio:sample_rate=16000,window_samples=8032,hop_samples=8032,n_fft=512,hop_length=160,n_mels=64",
    ),
    _net(
        "ECG CNN",
        "signal",
        "signal_cnn",
        5,
        "--set channels=12 --input signal:channels=12,window_samples=1000,hop_samples=500,sample_rate=250",
    ),
    _net("GRU of a series", "signal", "gru", 4, "--set channels=3 --input signal:channels=3,window_samples=50,hop_samples=50"),
    _design(
        "signal autoencoder",
        "signal autoencoder",
        "conv8s2k7 conv8s4k9p4 latentmap4",
        (2, 250),
        0,
        "signal:channels=2,window_samples=250,hop_samples=250",
    ),
    _net("table perceptron", "table", "table_mlp", 3, "--set columns=4 --input table:columns=a/b/c/d"),
    _design("table autoencoder", "table autoencoder", "fc64 fc32 latent8", (30,), 0, "tensor:name=row,item_shape=30"),
    _net("transformer of tokens", "tokens", "tokens", 4, "--input tensor:name=tokens,dtype=int64,item_shape=32"),
    _sklearn("random forest", "trees", "forest"),
    _sklearn("gradient boosting", "trees", "boosting"),
    _sklearn("logistic regression", "scikit-learn's others", "logistic"),
    _sklearn("perceptron", "scikit-learn's others", "perceptron"),
)
