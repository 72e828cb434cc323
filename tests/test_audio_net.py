"""Networks over sounds, trained from scratch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polysense.contracts import to_tensors
from polysense.errors import BadOption
from polysense.modality.audio_net import Cnn, Crnn, FrameNorm, Rnn, Transformer
from polysense.modality.audio_signal import HZ, log_mel
from polysense.registry import encoders
from test_audio import answer, noise, tone

# --- audio.cnn -----------------------------------------------------------------------------------


def padded(encoder, waves):
    """The same network by ``conv1d``, record by record: what the strip must equal."""
    out = []
    for wave in waves:
        frames = torch.from_numpy(encoder.prepare([wave])["x"][0])
        x = (frames - torch.from_numpy(encoder.scale[0])) / torch.from_numpy(encoder.scale[1])
        real = torch.ones(len(x), dtype=torch.bool)
        for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
            weight_DKC = convolution.weight.unflatten(1, (-1, x.shape[1]))
            room = torch.nn.functional.pad(x.T[None], (0, 8))  # silence behind the sound
            x = torch.nn.functional.conv1d(room, weight_DKC.transpose(1, 2), padding="same")
            x = torch.nn.functional.max_pool1d(x, 2)[0].T
            real = torch.nn.functional.pad(real, (0, len(real) % 2)).unflatten(0, (-1, 2)).any(1)
            x = norm(x[: len(real)]).relu()
        out.append(encoder.last(x).relu().detach())
    return out


@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8, 5)])
def test_the_strip_is_the_same_as_one_by_one(widths):
    """Odd and even numbers of frames, a sound shorter than a token, the longest neither first nor last."""
    encoder = Cnn(widths=widths, bands=16, seconds=2)
    waves = [noise(s) for s in (0.31, 0.02, 1.7, 0.5, 0.1, 2.3, 0.16)]
    encoder.fit(waves)
    for norm in encoder.norms:
        norm.running_mean.normal_()
        norm.bias.data.normal_()
    tokens = answer(encoder.eval(), waves)
    for i, expected in enumerate(padded(encoder, waves)):
        assert tokens.mask[i].tolist() == [j < len(expected) for j in range(tokens.mask.shape[1])]
        torch.testing.assert_close(tokens.x[i, : len(expected)], expected, atol=1e-5, rtol=1e-5)


def test_a_neighbour_is_never_heard():
    """A sound a million times as loud beside it changes nothing, in evaluation."""
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit([noise(0.5)])
    encoder.eval()
    wave = noise(0.3)
    calm, wild = answer(encoder, [noise(0.4), wave, noise(0.2)]), answer(encoder, [noise(0.4) * 1e6, wave, noise(0.2) * 1e6])
    torch.testing.assert_close(calm.clean()[1], wild.clean()[1], atol=1e-6, rtol=0)


def test_the_norm_is_torchs_and_bears_one_frame():
    x, ours, theirs = torch.randn(7, 4), FrameNorm(4), torch.nn.BatchNorm1d(4)
    torch.testing.assert_close(ours(x), theirs(x))
    before = ours.running_mean.clone()
    # one frame has no deviation: (x - running mean) / running deviation
    expected = (x[:1] - before) / (ours.running_var + ours.eps).sqrt()
    torch.testing.assert_close(ours(x[:1]), expected)
    assert torch.equal(ours.running_mean, before)


def test_one_short_sound_may_be_a_batch():
    encoder = Cnn(widths=(4, 4, 4), bands=8)
    encoder.fit([noise(0.1)])
    assert torch.isfinite(answer(encoder.train(), [noise(0.05)]).x).all()


def test_training_does_not_see_padding():
    """In training too, more padding changes nothing: neither statistics nor what is hidden."""
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit([noise(0.5)])
    encoder.train()
    arrays = to_tensors(encoder.prepare([noise(0.3), noise(0.2)]))
    longer = {key: torch.cat([value, torch.full_like(value, fill)], 1) for (key, value), fill in
              zip(arrays.items(), (1e4, False), strict=True)}
    both = []
    for batch in (arrays, longer):
        torch.manual_seed(3)
        both.append(encoder(batch).clean())
    torch.testing.assert_close(both[0], both[1][:, : both[0].shape[1]], atol=1e-6, rtol=0)


def test_nothing_is_hidden_in_evaluation_or_when_told():
    wave = noise(0.5)
    for augment, changes in ((True, True), (False, False)):
        encoder = Cnn(widths=(4,), bands=16, augment=augment)
        encoder.fit([wave])
        outputs = [answer(encoder.train(), [wave]).x for _ in range(4)]
        assert changes != all(torch.equal(outputs[0], other) for other in outputs)
        encoder.eval()
        assert torch.equal(answer(encoder, [wave]).x, answer(encoder, [wave]).x)


def test_frames_are_merged():
    """41 frames of 10 ms (0.4 s): 13 means of three, and the mean of the last two."""
    wave = noise(0.4)
    fine = log_mel(torch.from_numpy(wave), 8)
    x = Cnn(bands=8, merge=3).prepare([wave])["x"][0]
    assert x.shape == (14, 8)
    np.testing.assert_allclose(x[0], fine[:3].mean(0), atol=1e-5)
    np.testing.assert_allclose(x[13], fine[39:].mean(0), atol=1e-5)


def test_places_are_seconds():
    """One second is 100 frames, merged 50; three blocks halve to 7 tokens of 160 ms."""
    encoder = Cnn(widths=(4, 4, 4), seconds=1)
    encoder.fit([noise(1)])
    tokens = answer(encoder.eval(), [noise(1.0), noise(0.2)])
    assert tokens.x.shape[1] == 7 and tokens.mask.sum(1).tolist() == [7, 2]
    np.testing.assert_allclose(tokens.place[0, :2, 0], [0.08, 0.24], atol=1e-6)


def test_only_the_first_seconds_are_heard():
    encoder = Cnn(widths=(4,), bands=8, seconds=1)
    encoder.fit([noise(1)])
    wave = noise(3)
    assert encoder.prepare([wave])["x"].shape == (1, 50, 8)
    other = wave.copy()
    other[HZ + 1 :] = 0
    np.testing.assert_array_equal(encoder.prepare([wave])["x"], encoder.prepare([other])["x"])


def test_the_cnn_learns_high_from_low():
    values = [tone(hz, 0.2) + noise(0.2) for hz in (400, 3000) * 8]
    target = torch.tensor([0, 1] * 8)
    encoder = Cnn(widths=(4, 8), bands=16, seconds=1)
    encoder.fit(values)
    head = torch.nn.Linear(8, 2)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.02)
    batch = to_tensors(encoder.prepare(values))
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(head(encoder(batch).pooled()), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3


# --- frames --------------------------------------------------------------------------------------


SMALL = {
    "audio.cnn": {"widths": (4, 8), "bands": 16}, "audio.rnn": {"width": 8, "bands": 16},
    "audio.crnn": {"widths": (4, 8), "width": 8, "bands": 16}, "audio.transformer": {"width": 8, "heads": 2, "bands": 16},
}
each = pytest.mark.parametrize("name", SMALL)


def made(name, values, **options):
    """A fitted encoder whose running statistics are not the initial ones."""
    torch.manual_seed(1)
    encoder = encoders.make(name, **SMALL[name] | options)
    encoder.fit(values)
    for norm in getattr(encoder, "norms", ()):
        norm.running_mean.normal_()
    return encoder.eval()


def twin(encoder, **options):
    """An encoder of the same weights under other options."""
    other = encoders.make(encoder.name, **encoder.options() | options)
    other.load(encoder.state())
    other.load_state_dict(encoder.state_dict())
    return other.eval()


def test_cepstra_with_slopes_are_scipys():
    """Five columns of DCT-II, their slopes by a fitted line, the slopes' slopes; then means of two frames."""
    from scipy.fft import dct
    from scipy.signal import savgol_filter

    wave = noise(0.4)
    cepstra = dct(log_mel(torch.from_numpy(wave), 16).numpy(), norm="ortho")[:, :5]
    slope = savgol_filter(cepstra, 5, 1, deriv=1, axis=0, mode="nearest")
    both = np.concatenate([cepstra, slope, savgol_filter(slope, 5, 1, deriv=1, axis=0, mode="nearest")], 1)
    found = Rnn(input="mfcc", bands=16, coefficients=5, deltas=2, merge=2).prepare([wave])["x"][0]
    assert found.shape == (21, 15)
    np.testing.assert_allclose(found[:20], both[:40].reshape(20, 2, 15).mean(1), atol=1e-4)
    np.testing.assert_allclose(found[20], both[40], atol=1e-4)


def test_silence_at_both_ends_is_not_heard():
    wave = tone(1000, 0.3)
    still = np.concatenate([np.zeros(1600, np.float32), wave, np.zeros(3200, np.float32)])
    np.testing.assert_array_equal(Cnn(trim=40.0).prepare([still])["x"], Cnn().prepare([wave])["x"])
    assert Cnn().prepare([still])["x"].shape[1] == 31


def test_frames_are_standardised_by_the_training_sounds():
    values = [noise(0.3) + 1, tone(500, 0.4)]
    encoder = made("audio.rnn", values, input="mfcc", coefficients=4, deltas=1)
    frames = np.concatenate([encoder.prepare([value])["x"][0] for value in values])
    np.testing.assert_allclose(encoder.scale, [frames.mean(0), np.maximum(frames.std(0), 1e-3)], rtol=1e-4, atol=1e-5)


# --- windows -------------------------------------------------------------------------------------


@each
def test_windows_are_heard_as_if_they_were_sounds(name):
    """2.5 s in windows of one second, 0.75 s from each to the next: they begin at 0, 0.75 and 1.5 s."""
    long, short = noise(2.5), noise(0.4)
    encoder = made(name, [long], seconds=1, hop=0.75)
    tokens, single = answer(encoder, [short, long]), twin(encoder, hop=0.0)
    parts = [answer(single, [long[start : start + HZ]]) for start in (0, 12_000, 24_000)]
    each_has = parts[0].x.shape[1]
    assert tokens.mask.sum(1).tolist() == [answer(single, [short]).x.shape[1], 3 * each_has]
    for i, part in enumerate(parts):
        mine = slice(i * each_has, (i + 1) * each_has)
        torch.testing.assert_close(tokens.x[1, mine], part.x[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens.place[1, mine, 0], part.place[0, :, 0] + 0.75 * i)
    torch.testing.assert_close(tokens.pooled()[1], torch.cat([part.x[0] for part in parts]).mean(0), atol=1e-5, rtol=1e-5)


@each
def test_without_windows_only_the_beginning_is_heard(name):
    long = noise(2.5)
    encoder = made(name, [long], seconds=1)
    assert torch.equal(answer(encoder, [long]).x, answer(encoder, [long[:HZ]]).x)


# --- what training changes -----------------------------------------------------------------------


@each
@pytest.mark.parametrize("hop", [0.0, 0.5])
def test_frames_computed_late_are_those_computed_early(name, hop):
    """In evaluation waves are heard as if nothing could change them."""
    values = [noise(0.7), noise(1.6), tone(700, 0.1)]
    early = made(name, values, seconds=1, hop=hop)
    late = twin(early, noise=10.0, shift=0.2, speed=1.3)
    assert "wave" in late.prepare(values) and "wave" not in early.prepare(values)
    one, other = answer(early, values), answer(late, values)
    assert torch.equal(one.mask, other.mask) and torch.equal(one.clean(), other.clean())


@pytest.mark.parametrize("option", [{"noise": 10.0}, {"shift": 0.1}, {"speed": 1.2}, {"augment": True}])
def test_each_change_is_drawn_from_torchs_generator(option):
    values = [noise(0.6), tone(700, 0.5)]
    encoder = made("audio.transformer", values, **{"augment": False, "dropout": 0.0, **option})
    still = answer(encoder, values).pooled()
    encoder.train()
    state = torch.get_rng_state()
    first, second = answer(encoder, values).pooled(), answer(encoder, values).pooled()
    torch.set_rng_state(state)
    assert torch.equal(first, answer(encoder, values).pooled())
    assert not torch.allclose(first, second) and not torch.allclose(first, still)
    assert torch.equal(answer(encoder.eval(), values).pooled(), still)


def test_how_far_waves_are_changed():
    """A thousand times: lengths between n / 1.25 and 1.25 n, evenly so on a logarithmic scale; a click that comes up to
    50 ms later or earlier; every second time noise between 10 and 30 dB below the sound."""
    click = torch.zeros(1600)
    click[800] = 1.0
    torch.manual_seed(0)
    lengths = torch.tensor([len(wave) for wave in Cnn(speed=1.25)._changed([click] * 1000)])
    assert 1280 <= lengths.min() < 1290 and 1980 < lengths.max() <= 2000
    assert abs((lengths / 1600).log().mean()) < 0.01
    places = torch.stack(Cnn(shift=0.05)._changed([click] * 1000)).argmax(1)
    assert 0 <= places.min() < 10 and 1590 < places.max() <= 1600 and 750 < places.float().mean() < 850
    wave = torch.from_numpy(tone(440, 0.1))
    left = torch.stack(Cnn(noise=10.0)._changed([wave] * 1000)) - wave
    noisy = left.abs().sum(1) > 0
    assert 430 < noisy.sum() < 570
    decibel = 10 * (wave.square().mean() / left[noisy].square().mean(1)).log10()
    assert 9.99 < decibel.min() < 10.2 and 29.8 < decibel.max() < 30.01 and 19.5 < decibel.mean() < 20.5


def test_a_faster_sound_brings_more_to_hear():
    """A sound longer than is heard at a time still fills it when it is played faster, and later ones are cut."""
    encoder = made("audio.cnn", [noise(1)], seconds=1, speed=1.5, shift=0.25, augment=False)
    assert encoder.prepare([noise(5)])["wave"].shape == (1, 28_000)  # 1 s * 1.5 and 0.25 s
    tokens = answer(encoder.train(), [noise(5)] * 8)
    assert tokens.mask.sum(1).tolist() == [13] * 8  # 100 frames, merged 50, four to a token


# --- audio.rnn, audio.crnn, audio.transformer ----------------------------------------------------


def frames_of(encoder, wave):
    """(1, T, F) standardised, as the network gets them."""
    x = torch.from_numpy(encoder.prepare([wave])["x"])
    return (x - torch.from_numpy(encoder.scale[0])) / torch.from_numpy(encoder.scale[1])


@pytest.mark.parametrize(("cell", "cls"), [("tanh", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
@pytest.mark.parametrize("both", [True, False])
def test_the_rnn_is_torchs(cell, cls, both):
    wave = noise(0.5)
    encoder = made("audio.rnn", [wave], cell=cell, both=both, layers=2)
    net = cls(16, 4 if both else 8, 2, batch_first=True, bidirectional=both)
    net.load_state_dict(encoder.recurrent.net.state_dict())
    tokens = answer(encoder, [noise(0.8), wave])
    expected = net(frames_of(encoder, wave))[0][0]
    torch.testing.assert_close(tokens.x[1, : len(expected)], expected, atol=1e-5, rtol=1e-5)
    assert tokens.mask.sum(1).tolist() == [21, 13]  # 81 and 51 frames of 10 ms, four to one
    torch.testing.assert_close(tokens.place[1, :2, 0], torch.tensor([0.02, 0.06]))


@pytest.mark.parametrize("deltas", [0, 1])
def test_the_crnn_is_the_same_as_one_by_one(deltas):
    """The same network by torch's own layers, without any mask; 13 bands become 4, then 1."""
    values = [noise(s) for s in (0.5, 0.04, 0.9)]
    encoder = made("audio.crnn", values, bands=13, deltas=deltas)
    tokens = answer(encoder, values)
    for i, wave in enumerate(values):
        x = frames_of(encoder, wave).unflatten(2, (1 + deltas, 13)).transpose(1, 2)
        for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
            x = torch.nn.functional.pad(convolution(x), (0, -x.shape[3] % 4), value=-torch.inf).unflatten(3, (-1, 4)).amax(4)
            x = torch.nn.functional.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps).relu()
        rows = x.permute(0, 2, 3, 1).flatten(2)
        expected = encoder.recurrent.net(rows)[0][0]
        torch.testing.assert_close(tokens.x[i, : len(expected)], expected, atol=1e-5, rtol=1e-5)
        assert int(tokens.mask[i].sum()) == len(expected)


def test_the_crnn_norms_real_frames_only():
    """In training a short sound beside a long one does not move the statistics by its padding."""
    values = [noise(0.9), noise(0.1)]
    encoder = made("audio.crnn", values, augment=False).train()
    encoder.norms[0].momentum = 1.0
    answer(encoder, values)
    apart = [encoder.convolutions[0](frames_of(encoder, wave)[:, None]) for wave in values]
    pooled = torch.cat([torch.nn.functional.max_pool2d(x, (1, 4)).permute(0, 2, 3, 1).flatten(0, 2) for x in apart])
    torch.testing.assert_close(encoder.norms[0].running_mean, pooled.mean(0), atol=1e-5, rtol=1e-4)


def test_the_transformer_is_the_same_as_one_by_one():
    """0.52 s: 53 frames, merged 27, in patches of four 7, the last of them one mean frame short."""
    wave = noise(0.52)
    encoder = made("audio.transformer", [wave], depth=2)
    x = torch.nn.functional.pad(frames_of(encoder, wave), (0, 0, 0, 1)).reshape(1, 7, 4 * 16)
    angle = torch.arange(7)[:, None] / torch.tensor([1.0, 1.0, 10.0, 10.0, 100.0, 100.0, 1000.0, 1000.0])
    waves = torch.where(torch.arange(8) % 2 == 0, angle.sin(), angle.cos())
    x = encoder.first(x) + waves
    for block in encoder.blocks:
        x = block(x, torch.ones(1, 7, dtype=torch.bool))
    tokens = answer(encoder, [noise(0.9), wave])
    torch.testing.assert_close(tokens.x[1, :7], encoder.norm(x)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.place[1, :2, 0], torch.tensor([0.04, 0.12]))


def glide(up, seconds=0.4):
    """A tone whose pitch moves between 500 and 2000 Hz; both ways have the same mean spectrum."""
    hz = np.geomspace(500, 2000, int(HZ * seconds))[:: 1 if up else -1]
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hz) / HZ)).astype(np.float32) + noise(seconds) * 0.1


@pytest.mark.parametrize(("name", "options"), [
    ("audio.rnn", {"cell": "gru"}), ("audio.crnn", {}), ("audio.transformer", {"dropout": 0.0}),
    ("audio.rnn", {"cell": "tanh", "noise": 20.0, "speed": 1.05, "shift": 0.02}),
])
def test_the_networks_learn_up_from_down(name, options):
    values, target = [glide(i % 2) for i in range(16)], torch.tensor([0, 1] * 8)
    encoder = made(name, values, seconds=1, **options).train()
    head = torch.nn.Linear(8, 2)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.02)
    batch = to_tensors(encoder.prepare(values))
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(head(encoder(batch).pooled()), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    others = [glide(i % 2) for i in range(16)]
    answers = head(answer(encoder.eval(), others).pooled()).argmax(1)
    assert (answers == target).float().mean() > 0.9


# --- odd sounds and odd options -------------------------------------------------------------------


@each
@pytest.mark.parametrize("options", [
    {}, {"input": "mfcc", "coefficients": 4, "deltas": 2, "trim": 30.0}, {"noise": 0.0, "speed": 2.0, "shift": 1.0, "hop": 0.5},
])
def test_odd_sounds(name, options):
    """One sample, none, silence, a sound as loud as floats bear; alone and together, in training and out of it."""
    values = [np.ones(1, np.float32), np.zeros(0, np.float32), np.zeros(HZ * 2, np.float32), tone(800, 0.3, 1e15), noise(1.4)]
    encoder = made(name, values, seconds=1, **options)
    for mode in (True, False):
        tokens = answer(encoder.train(mode), values)
        assert torch.isfinite(tokens.x).all() and tokens.present.all()
        assert torch.isfinite(answer(encoder, values[:1]).pooled()).all()


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("audio.cnn", {"input": "mel"}, "'input' is 'mel'; give one of logmel, mfcc"),
    ("audio.cnn", {"deltas": 3}, "'deltas' is 3; give 0, 1 or 2"),
    ("audio.cnn", {"input": "mfcc", "bands": 16}, "'coefficients' is 20, but 16 bands"),
    ("audio.cnn", {"hop": 11.0}, "'hop' is 11.0; give 0, or from 0.01 to the 10 seconds"),
    ("audio.cnn", {"hop": 0.001}, "'hop' is 0.001; give 0, or from 0.01"),
    ("audio.cnn", {"speed": 0.9}, "'speed' is 0.9; give a number of at least 1"),
    ("audio.cnn", {"trim": float("nan")}, "'trim' is nan; give a number of at least 0"),
    ("audio.cnn", {"noise": "loud"}, "'noise' is 'loud'; give a number"),
    ("audio.rnn", {"cell": "elman"}, "'cell' is 'elman'; give one of tanh, lstm, gru"),
    ("audio.rnn", {"width": 9}, "'width' is 9; give an even number for two directions, or both=false"),
    ("audio.crnn", {"width": 9}, "'width' is 9; give an even number for two directions, or both=false"),
    ("audio.transformer", {"width": 10}, "'width' is 10; give a multiple of the 4 heads"),
])
def test_odd_options_are_refused(name, options, sentence):
    with pytest.raises(BadOption, match=sentence):
        encoders.make(name, **options)


def test_one_direction_may_be_odd():
    assert Rnn(width=9, both=False).dim == 9 and Crnn(width=9, both=False).dim == 9
    assert Transformer(width=12, heads=3).dim == 12


# --- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [
    ("audio.rnn", {"input": "mfcc", "deltas": 1, "hop": 0.2, "trim": 40.0, "noise": 20.0}), ("audio.transformer", {"hop": 0.5}),
])
def test_a_model_of_files_of_every_sort(tmp_path, name, options):
    """Stereo, odd rates, a single sample, silence, a long sound, several in one cell, one that is no sound."""
    import soundfile

    import polysense

    def file(label, wave, hz=HZ):
        soundfile.write(tmp_path / f"{label}.wav", wave, hz, subtype="FLOAT")
        return f"{label}.wav"

    rows = []
    for i in range(24):
        hz = (8_000, 11_025, 22_050, 44_100)[i % 4]
        wave = np.sin(2 * np.pi * (400, 1500)[i // 4 % 2] * np.arange(int(hz * 0.3)) / hz).astype(np.float32) * 0.3
        rows.append({"sound": file(i, np.stack([wave, -0.5 * wave], 1) if i % 3 else wave, hz), "label": "ab"[i // 4 % 2]})
    low = file("low", tone(400, 2.6))
    rows += [{"sound": [low, rows[0]["sound"], low], "label": "a"}, {"sound": file("dot", np.ones(1)), "label": "b"},
             {"sound": file("still", np.zeros(4000)), "label": "b"}, {"sound": [low, "nowhere.wav"], "label": "a"}]
    sizes = {"audio.rnn": {"width": 8}, "audio.transformer": {"width": 8, "heads": 2, "depth": 1}}[name]
    settings = {f"sound.{key}": value for key, value in {**sizes, "bands": 24, "seconds": 1, **options}.items()}
    made = polysense.Model(
        "label", encoders={"sound": name}, cache=False, seed=1,
        options={"train.epochs": 15, "train.batch": 14, "train.dim": 8, "train.members": 1, "train.rate": 0.02, **settings},
    ).fit(polysense.data.records.as_records(rows, folder=tmp_path))
    assert [(cell["row"], cell["action"]) for cell in made.data_report_["bad_cells"]] == [(27, "left out")]
    records = polysense.data.records.as_records(rows, folder=tmp_path)
    whole = made.predict_proba(records)
    assert (made.predict(records)[:24] == [row["label"] for row in rows[:24]]).mean() > 0.8
    for row in (0, 24, 25, 26, 27):
        alone = made.predict_proba(polysense.data.records.as_records(rows[row : row + 1], folder=tmp_path))
        np.testing.assert_allclose(alone[0], whole[row], atol=1e-5)
    made.save(tmp_path / "model")
    np.testing.assert_allclose(polysense.load(tmp_path / "model").predict_proba(records), whole, atol=1e-6)
