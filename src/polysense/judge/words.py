"""All words of the report, in each language it speaks. ``{name}`` is filled in; ``one|many`` chooses by a count."""

from __future__ import annotations

from typing import Any

from ..errors import BadOption
from ..registry import suggest

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "{target} of {source}", "target": "target", "contents": "Contents", "comma": ", ",
        "percent": "{value}&nbsp;%", "interval": "95&nbsp;% interval", "yes": "yes", "no": "no",
        "n_record": "{n} record|{n} records", "n_group": "{n} group|{n} groups", "n_cell": "{n} bad cell|{n} bad cells",
        "n_subset": "{n} subset|{n} subsets", "n_regression": "{n} regression is|{n} regressions are",
        "n_class": "{n} class|{n} classes",
        # section names
        "s_scores": "Scores", "s_subsets": "Which view carries the model", "s_calibration": "Can its confidence be believed",
        "s_classes": "Class by class", "s_by": "By {column}", "s_mistakes": "Confident mistakes",
        "s_learning": "Learning curves", "s_data": "The data", "s_made": "How the model was made",
        # summary
        "nothing": "No record has a target that could be judged.", "note": "Note.",
        "right": "On {records} the model is right <b>{accuracy}</b> of the time {interval}.",
        "records_in_groups": "{records} in {groups}",
        "too_few": "Too few to say: the intervals rest on {units}, so they tell little of other records.",
        "threshold": "<b>{name}</b> is said from a probability of {start} on, by the model and by the regressions beside it.",
        "compare": "For comparison: {rivals}.", "vs_concat": "plain concatenation {accuracy}",
        "vs_single": "the best single view ({view}) {accuracy}", "vs_majority": "the most frequent class {accuracy}",
        "mean_apart": "Averaged over {subsets} of the views that could be counted: {difference} points of accuracy against "
                      "a regression trained for each, {filled} against one trained on all records with absent parts filled.",
        "none_ahead": "No regression is significantly ahead of the model.",
        "some_ahead": "{regressions} significantly ahead of the model.",
        "unseen": "{records} of a class unseen in training ({classes}): counted as wrong, left out of log loss.",
        # measures
        "accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss", "ece": "calibration error", "auroc": "AUROC",
        "macro_precision": "macro precision", "macro_recall": "macro recall", "weighted_precision": "weighted precision",
        "weighted_recall": "weighted recall", "weighted_f1": "weighted F1", "measure": "measure", "value": "value",
        "less": "less is better", "all_measures": "All measures", "accuracy_axis": "accuracy, %",
        "points_axis": "points of accuracy",
        # scores
        "this_model": "this model", "concat": "plain concatenation, logistic regression", "single": "best single view: {view}",
        "majority": "most frequent class", "baselines_caption": "Accuracy beside the baselines",
        "scores_fine": "Intervals: 95&nbsp;% percentile bootstrap over {units}. The best single view was chosen by validation "
                       "records, never by these. Log loss in nats.",
        "over_groups": "groups", "over_records": "records",
        # subsets
        "carry_same": "<b>{view}</b> carries the model: alone it is right {alone} of the time, and no other view is missed as "
                      "much when it is taken away ({adds}).",
        "carry_two": "<b>{view}</b> knows most by itself ({alone}), but <b>{other}</b> is missed most when it is taken away "
                     "({adds}).",
        "carry_none": "<b>{view}</b> knows most by itself ({alone}), yet no view is clearly missed when it alone is taken "
                      "away: the others make up for it.",
        "carry_only": "<b>{view}</b> by itself is right {alone} of the time.",
        "carry_all": "Together the views are right {all} of the time.",
        "carry_more": "Taking away {views} also costs accuracy.", "carry_view": "{view} ({adds})",
        "carry_unclear": "What {views} adds to the others is not clear from these records (the interval holds zero).|What "
                         "{views} add to the others is not clear from these records (their intervals hold zero).",
        "carry_harm": "With {views} the model is right less often than without.",
        "points": "{value} points {interval}", "and": " and ",
        "worth_caption": "Each view alone, and what it adds: everything present minus everything but this view, on the same "
                         "records",
        "view": "view", "alone": "alone", "adds": "adds to the others",
        "matrix_caption": "Accuracy by the views that are present (filled dots), everything else masked, on the records that "
                          "have them all",
        "matrix_words": "The <em>specialist</em> is a logistic regression trained on exactly the views of its row; the "
                        "<em>filled specialist</em> is trained on all records, with zeros and presence bits for what is "
                        "absent. Differences are model minus rival, in points of accuracy.",
        "specialist": "specialist", "behind": "behind its specialist after Holm’s correction",
        "records": "records", "records_unit": "records",
        "matrix": "Every subset of views", "model": "model",
        "minus_specialist": "minus specialist", "minus_filled": "minus filled",
        "mean_of": "mean of {n} counted", "everything": "everything", "all_but": "all but {view}",
        "few_fine": "Pale rows have under {train} training or {test} judged records and are not counted. All intervals "
                    "95&nbsp;%. Rows of different records are not comparable to the point.",
        "pairs": "Pairs of views",
        # calibration
        "calibrated": "Its confidence is {value} points off on average (calibration error {ece} {interval}).",
        "over": "On the whole the model is too sure: it promises {confidence} and is right {accuracy} of the time.",
        "under": "On the whole the model is too modest: it promises {confidence} and is right {accuracy} of the time.",
        "level": "On the whole it promises {confidence} and is right {accuracy} of the time, within the interval.",
        "curve_caption": "Share of right answers by confidence, with 95&nbsp;% intervals",
        "confidence": "confidence", "confidence_axis": "confidence of the answer, %", "right_axis": "right answers, %",
        "records_axis": "records", "ideal": "as promised", "histogram": "Records by confidence",
        "bins": "The {n} bins as a table",
        # classes
        "class": "class", "precision": "precision", "recall": "recall", "f1": "F1", "taken_for": "most taken for",
        "classes_caption": "Figures of every class, lowest F1 first; precision, recall and F1 in % with 95&nbsp;% intervals",
        "classes_more": "The other {n} classes", "f1_axis": "F1, %",
        "classes_left": "Figures of the {n} most frequent classes.",
        "classes_fine": "Where every record of a class was right (or wrong) no resample differs and the interval has no width; "
                        "of few records, read it with care.",
        "confusion": "What is taken for what", "confusion_words": "Rows: the true class; columns: what the model said. Shade: "
        "share of the row.", "all": "all", "unseen_class": "unseen class", "other_classes": "other classes",
        "collapsed": "The {n} classes with most mistakes; the rest together.", "often": "Most often:",
        "pair": "<b>{truth}</b> taken for <b>{said}</b>: {n} of {total}", "no_mistake": "No mistake.",
        "right_wrong": "{right} right, {wrong} wrong",
        # by
        "by_caption": "Accuracy by {column}, with the difference to all records in points and 95&nbsp;% intervals",
        "by_lowest": "<b>{value}</b> has the lowest accuracy: {accuracy} {interval}, {difference} points from all records.",
        "by_clear": "The interval lies below zero, so it is lower than the whole; as the lowest of several it still looks "
                    "worse than it is.",
        "by_unclear": "The interval holds zero: these records do not show that any value is clearly lower.",
        "by_nothing": "Fewer than two values have {few} records: there is nothing to compare.",
        "by_none": "No value with enough records has a lower accuracy than all records together.",
        "by_fine": "Pale rows have under {few} records. The line is the accuracy of all records.",
        "others": "{n} others", "empty": "empty", "difference": "difference",
        # learning
        "loss": "loss", "loss_axis": "loss, nats", "training": "training", "validation": "validation",
        "valid_accuracy": "validation accuracy", "valid_axis": "accuracy, %", "rate": "learning rate", "rate_axis":
        "learning rate", "epoch": "epoch", "best": "lowest validation loss: epoch {epoch}",
        "loss_fine": "The training loss is that of the whole objective (masked copies, heads of the single views, smoothing), "
                     "so it need not lie below the validation loss.",
        "last": "{name}, last {value}",
        # mistakes
        "mistakes_words": "The wrong answers that were given with the highest probability.",
        "taken": "{truth} taken for {said}", "row_said": "row {row}, said with {probability}",
        "unseen_in_training": "a class unseen in training", "absent": "absent", "picture_of": "{column} of row {row}",
        "series_of": "{column} of row {row}: {n} samples, {shown} of {all} channels",
        "sound_of": "{column} of row {row}, {seconds} s", "first_of": "the first {seconds} of {whole} s",
        "spectrogram_of": "spectrogram of {column}: time in seconds, frequency in Hz", "seconds": "s", "hz": "Hz",
        # data
        "split_words": "{train} trained the model and {valid} validated it.", "without": "{records} without a target were left "
        "out.", "lacking": "{target} is unknown in {records}; their other targets were used.",
        "leak": "{column}: {records} in validation hold the very content of a training record; scores on them flatter.",
        "missing_as": "{column}: {words} taken as missing.", "word_times": "{word} ({n} times)",
        "columns_caption": "Columns of the training table: what each was taken for, and why", "column": "column",
        "kind": "kind", "reason": "reason", "missing": "missing", "views_caption": "Views: share of the training records that "
        "lack them", "bad": "Cells that could not be read", "no_bad": "Every cell could be read.",
        "bad_more": "and {n} more", "row": "row", "action": "action", "table": "table", "in_training": "training",
        "in_judged": "judged",
        # made
        "encoder": "encoder", "tower": "tower", "regime": "weights", "frozen": "frozen", "tuned": "tuned",
        "scratch": "trained here", "fixed": "fixed features", "parts_caption": "What reads each view",
        "mixture": "The answer is mixed: {network} network, {regressions} logistic regressions on the same views.",
        "recipe": "Recipe", "recipe_words": "Save it as recipe.yaml and repeat the model with <code>polysense fit TABLE "
        "--recipe recipe.yaml --out DIR</code>.", "versions": "Versions", "facts": "Facts", "seed": "seed",
        "cpu_seconds": "CPU seconds", "date": "date", "source": "table",
        "quality": "chosen by", "pseudo": "pseudo-labels", "settings": "Settings of training",
        "fingerprint": "fingerprint of the weights (sha256)", "task": "task", "fusion": "fusion", "licence": "licence",
        "made_by": "Made by polysense; nothing in this file comes from outside.",
    },
}
WORDS["zh"] = {
    "title": "{source} 的 {target}", "target": "目标", "contents": "目录", "comma": "、",
    "percent": "{value}%", "interval": "95% 区间", "yes": "是", "no": "否",
    "n_record": "{n} 条记录", "n_group": "{n} 个组", "n_cell": "{n} 个坏单元格", "n_subset": "{n} 个视图子集",
    "n_regression": "{n} 个专家回归", "n_class": "{n} 个类别",
    "s_scores": "得分", "s_subsets": "模型靠哪个视图", "s_calibration": "置信度可信吗", "s_classes": "各类别",
    "s_by": "按 {column} 细分", "s_mistakes": "自信的错误", "s_learning": "学习曲线", "s_data": "数据",
    "s_made": "模型是怎样得到的",
    "nothing": "没有可以评判的带目标的记录。", "note": "注意：",
    "right": "在 {records}上，模型有 <b>{accuracy}</b> 答对 {interval}。", "records_in_groups": "{records}（{groups}）",
    "too_few": "太少，说明不了什么：区间只依据 {units}，对其他记录几乎没有意义。",
    "threshold": "概率达到 {start} 即答 <b>{name}</b>，模型与对照的回归都是如此。",
    "compare": "对照：{rivals}。", "vs_concat": "简单拼接 {accuracy}", "vs_single": "最好的单个视图（{view}）{accuracy}",
    "vs_majority": "最常见的类别 {accuracy}",
    "mean_apart": "对可计入的 {subsets}取平均：与专家回归（只用这些视图训练的逻辑回归）相比，准确率相差 {difference} 个百分点；"
                  "与补零专家（用全部记录训练，缺失部分补零）相比，相差 {filled} 个百分点。",
    "none_ahead": "没有专家回归显著领先于模型。", "some_ahead": "{regressions}显著领先于模型。",
    "unseen": "{records}属于训练中没有出现过的类别（{classes}）：计为答错，不计入对数损失。",
    "accuracy": "准确率", "macro_f1": "宏平均 F1", "log_loss": "对数损失", "ece": "校准误差", "auroc": "AUROC",
    "macro_precision": "宏平均精确率", "macro_recall": "宏平均召回率", "weighted_precision": "加权精确率",
    "weighted_recall": "加权召回率", "weighted_f1": "加权 F1", "measure": "指标", "value": "数值", "less": "越小越好",
    "all_measures": "全部指标", "accuracy_axis": "准确率（%）", "points_axis": "准确率（百分点）",
    "this_model": "本模型", "concat": "简单拼接（逻辑回归）", "single": "最好的单个视图：{view}", "majority": "最常见的类别",
    "baselines_caption": "准确率与基线的对照",
    "scores_fine": "区间：对{units}作自助重抽样的 95% 百分位区间。最好的单个视图由验证记录选出，与这里的记录无关。对数损失的单位是奈特。",
    "over_groups": "组", "over_records": "记录",
    "carry_same": "模型主要靠 <b>{view}</b>：单凭它就有 {alone} 答对，而且去掉它时损失最大（{adds}）。",
    "carry_two": "单独来看 <b>{view}</b> 知道得最多（{alone}），但去掉 <b>{other}</b> 时损失最大（{adds}）。",
    "carry_none": "单独来看 <b>{view}</b> 知道得最多（{alone}），但只去掉任何一个视图都没有明显损失：其余视图能够弥补。",
    "carry_only": "单凭 <b>{view}</b> 有 {alone} 答对。", "carry_all": "全部视图合用时有 {all} 答对。",
    "carry_more": "去掉 {views} 也会降低准确率。", "carry_view": "{view}（{adds}）",
    "carry_unclear": "从这些记录还看不清 {views} 给其他视图补充了什么（区间包含零）。",
    "carry_harm": "有 {views} 时，模型反而不如没有时答得对。",
    "points": "{value} 个百分点 {interval}", "and": " 和 ",
    "worth_caption": "每个视图单独使用时的准确率，以及它的补充：同一批记录上，视图齐全减去缺少该视图",
    "view": "视图", "alone": "单独使用", "adds": "给其他视图的补充",
    "matrix_caption": "按在场视图（实心圆点）看准确率：其余视图一律遮去，只取具备这些视图的记录",
    "matrix_words": "<em>专家回归</em>（只用这些视图训练的逻辑回归）为每一行单独训练；<em>补零专家</em>用全部记录训练，缺失部分以零和"
                    "在场标记代替。差值是模型减去对手，单位为准确率的百分点。",
    "specialist": "专家回归", "behind": "经 Holm 校正后落后于专家回归",
    "records": "记录数", "records_unit": "条", "matrix": "视图的每个子集",
    "model": "模型", "minus_specialist": "减专家回归", "minus_filled": "减补零专家",
    "mean_of": "计入的 {n} 行平均", "everything": "全部视图", "all_but": "除 {view} 外全部",
    "few_fine": "浅色的行训练记录少于 {train} 条或评判记录少于 {test} 条，不计入。区间均为 95%。各行的记录不同，不宜逐点比较。",
    "pairs": "两两组合",
    "calibrated": "置信度与实际答对的比例平均相差 {value} 个百分点（校准误差 {ece} {interval}）。",
    "over": "总的来说模型过于自信：承诺 {confidence}，实际答对 {accuracy}。",
    "under": "总的来说模型过于谨慎：承诺 {confidence}，实际答对 {accuracy}。",
    "level": "总的来说承诺 {confidence}，实际答对 {accuracy}，在区间之内。",
    "curve_caption": "不同置信度下答对的比例，附 95% 区间",
    "confidence": "置信度", "confidence_axis": "回答的置信度（%）", "right_axis": "答对的比例（%）", "records_axis": "记录数",
    "ideal": "言行一致", "histogram": "各置信度的记录数", "bins": "{n} 个分箱的数据表",
    "class": "类别", "precision": "精确率", "recall": "召回率", "f1": "F1", "taken_for": "最常被当作",
    "classes_caption": "每个类别的数字，F1 最低的在前；精确率、召回率和 F1 均为百分数，附 95% 区间",
    "classes_more": "其余 {n} 个类别", "f1_axis": "F1（%）", "classes_left": "只列出最常见的 {n} 个类别。",
    "classes_fine": "某个类别的记录全对（或全错）时，重抽样不会有变化，区间宽度为零；记录很少时请谨慎看待。",
    "confusion": "什么被当作什么", "confusion_words": "行是真实类别，列是模型的回答，颜色深浅表示占该行的比例。", "all": "合计",
    "unseen_class": "未见过的类别", "other_classes": "其他类别", "collapsed": "列出错误最多的 {n} 个类别，其余合在一起。",
    "often": "最常见的混淆：", "pair": "<b>{truth}</b> 被当作 <b>{said}</b>：{total} 条中的 {n} 条", "no_mistake": "没有错误。",
    "right_wrong": "{right} 对，{wrong} 错",
    "by_caption": "按 {column} 细分的准确率，与全部记录之差以百分点计，附 95% 区间",
    "by_lowest": "<b>{value}</b> 的准确率最低：{accuracy} {interval}，与全部记录相差 {difference} 个百分点。",
    "by_clear": "整个区间都在零以下，确实低于总体；但它是多个取值中最低的一个，看上去总会比实际更差。",
    "by_unclear": "区间包含零：这些记录不足以说明哪个取值明显更低。",
    "by_nothing": "满 {few} 条记录的取值不足两个，无从比较。",
    "by_none": "记录足够的取值中，没有哪个的准确率低于全部记录。",
    "by_fine": "浅色的行不足 {few} 条记录。竖线是全部记录的准确率。",
    "others": "其他 {n} 个取值", "empty": "空", "difference": "差值",
    "loss": "损失", "loss_axis": "损失（奈特）", "training": "训练", "validation": "验证", "valid_accuracy": "验证准确率",
    "valid_axis": "准确率（%）", "rate": "学习率", "rate_axis": "学习率", "epoch": "轮次", "best": "验证损失最低：第 {epoch} 轮",
    "loss_fine": "训练损失是整个目标函数的值（含遮去视图的副本、各视图自己的输出头和标签平滑），因此不一定低于验证损失。",
    "last": "{name}，最后为 {value}",
    "mistakes_words": "答错的记录中，概率给得最高的那些。", "taken": "{truth} 被当作 {said}",
    "row_said": "第 {row} 行，概率 {probability}", "unseen_in_training": "训练中没有的类别", "absent": "缺失",
    "series_of": "第 {row} 行的 {column}：{n} 个采样点，{all} 个通道中的 {shown} 个",
    "picture_of": "第 {row} 行的 {column}", "sound_of": "第 {row} 行的 {column}，{seconds} 秒",
    "first_of": "共 {whole} 秒，取前 {seconds} 秒", "spectrogram_of": "{column} 的频谱图：横轴为秒，纵轴为赫兹",
    "seconds": "秒", "hz": "Hz",
    "split_words": "{train}用于训练，{valid}用于验证。", "without": "{records}没有目标，未使用。",
    "lacking": "{records}没有 {target}；它们的其他目标仍被使用。",
    "leak": "{column}：验证中有 {records}与某条训练记录内容完全相同，它们的得分会偏高。",
    "missing_as": "{column}：{words} 视为缺失。", "word_times": "{word}（{n} 次）",
    "columns_caption": "训练表的各列：当作什么种类，为什么", "column": "列", "kind": "种类", "reason": "理由", "missing": "缺失",
    "views_caption": "各视图：训练记录中缺失的比例", "bad": "无法读取的单元格", "no_bad": "所有单元格都能读取。",
    "bad_more": "另有 {n} 个", "row": "行", "action": "处理", "table": "表", "in_training": "训练", "in_judged": "评判",
    "encoder": "编码器", "tower": "预训练塔", "regime": "权重", "frozen": "冻结", "tuned": "已微调", "scratch": "在此训练",
    "fixed": "固定特征", "parts_caption": "各视图由什么读取",
    "mixture": "回答是混合的：网络占 {network}，同样视图上的逻辑回归占 {regressions}。",
    "recipe": "配方", "recipe_words": "存为 recipe.yaml，即可用 <code>polysense fit TABLE --recipe recipe.yaml --out DIR</code> "
    "重做这个模型。", "versions": "版本", "facts": "概况", "seed": "随机种子", "cpu_seconds": "CPU 秒数", "date": "日期",
    "quality": "设置的选择", "pseudo": "伪标签",
    "source": "数据表", "settings": "训练设置", "fingerprint": "权重指纹（sha256）", "task": "任务", "fusion": "融合",
    "licence": "许可", "made_by": "由 polysense 生成；本文件不含任何外部资源。",
}

#: Sentences that name their measure, where that is not accuracy; and what depends on the kind of answer.
WORDS["en"] |= {
    "right_other": "On {records} its {measure} is <b>{accuracy}</b> {interval}.",
    "subset_accuracy": "sets wholly right", "average_precision": "average precision", "hamming_loss": "wrong entries",
    "ranking_loss": "pairs out of order", "micro_f1": "micro F1", "concat_labels": "plain concatenation, logistic regression",
    "majority_labels": "shares in training", "vs_majority_labels": "the shares in training {accuracy}",
    "vs_majority_numbers": "a constant of the training records {accuracy}",
    "mean_apart_other": "Averaged over {subsets} of the views that could be counted, its {measure} differs by {difference} "
                        "from a regression trained for each, by {filled} from one trained on all records with absent parts "
                        "filled (model minus regression).",
    "mae": "MAE", "rmse": "RMSE", "r2": "R²", "accuracy_axis_other": "{measure}", "points_axis_other": "gain in {measure}",
    "baselines_caption_other": "{measure} beside the baselines", "concat_numbers": "plain concatenation, ridge regression",
    "majority_numbers": "constant of the training records",
    "scores_fine_other": "Intervals: 95&nbsp;% percentile bootstrap over {units}. The best single view was chosen by validation "
                         "records, never by these.",
    "carry_same_other": "<b>{view}</b> carries the model: alone it reaches a {measure} of {alone}, and no other view is missed "
                        "as much when it is taken away (a gain of {adds}).",
    "carry_two_other": "<b>{view}</b> knows most by itself ({measure} {alone}), but <b>{other}</b> is missed most when it is "
                       "taken away (a gain of {adds}).",
    "carry_none_other": "<b>{view}</b> knows most by itself ({measure} {alone}), yet no view is clearly missed when it alone is "
                        "taken away: the others make up for it.",
    "carry_only_other": "<b>{view}</b> by itself reaches a {measure} of {alone}.",
    "carry_all_other": "Together the views reach {all}.", "carry_more_other": "Taking away {views} also makes it worse.",
    "carry_harm_other": "With {views} the {measure} is worse than without.", "points_other": "{value} {interval}",
    "matrix_caption_other": "{measure} by the views that are present (filled dots), everything else masked, on the records "
                            "that have them all",
    "matrix_words_other": "The <em>specialist</em> is a linear regression trained on exactly the views of its row; the "
                          "<em>filled specialist</em> is trained on all records, with zeros and presence bits for what is "
                          "absent. Differences are model minus rival, in {measure}.",
    "by_caption_other": "{measure} by {column}, with the difference to all records and 95&nbsp;% intervals",
    "by_lowest_other": "<b>{value}</b> has the worst {measure}: {accuracy} {interval}, {difference} from all records.",
    "by_clear_other": "The whole interval lies on the bad side of zero, so it is worse than the whole; as the worst of several "
                      "it still looks worse than it is.",
    "by_none_other": "No value with enough records has a worse {measure} than all records together.",
    "by_fine_other": "Pale rows have under {few} records. The line is the {measure} of all records.",
    "loss_axis_other": "loss", "s_spread": "Said and true", "s_errors": "Largest errors",
    "true_axis": "true number", "said_axis": "number the model says", "true": "as it is",
    "spread_caption": "What the model says beside what is true (up to 500 records)",
    "errors_lie": "Half of the errors (said minus true) lie between {low} and {high}, nine of ten between {least} and {most}.",
    "errors_words": "The records on which the model is furthest off.", "off": "{truth} said to be {said}",
    "row_off": "row {row}, off by {error}",
    "mixture_numbers": "The answer is mixed: {network} network, {regressions} ridge regressions on the same views.",
    "written": "written by the network", "taken_from": "taken from training row {row}",
    "mixture_words": "The answer is the text on which the network ({network}) and the nearest training records ({regressions}) "
                     "agree most; so it may be a text that a training record has.",
    "cider": "CIDEr", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "exact": "word for word", "wer": "WER", "cer": "CER",
    "token_accuracy": "next word right, the words before being given",
    "majority_words": "most frequent text", "vs_majority_words": "the most frequent text {accuracy}",
    "concat_words": "nearest record by all views", "vs_concat_words": "the text of the nearest training record {accuracy}",
    "single_words": "nearest record by {view}", "vs_single_words": "nearest by {view} alone {accuracy}",
    "mean_apart_words": "Averaged over {subsets} of the views that could be counted, its {measure} differs by {difference} from "
                        "the text of the nearest record that has just these views, by {filled} from that of the nearest record "
                        "of all (model minus nearest).",
    "none_ahead_words": "No nearest record's text is significantly ahead (Holm, 5&nbsp;%).",
    "some_ahead_words": "Of the nearest records' texts those of {subsets} are significantly ahead (Holm, 5&nbsp;%).",
    "specialist_words": "nearest", "minus_specialist_words": "minus nearest", "minus_filled_words": "minus nearest of all",
    "matrix_words_words": "<em>Nearest</em> is the text of the training record that is nearest by exactly the views of its row, "
                          "among those that have them all; <em>nearest of all</em> looks among all records, zeros standing for "
                          "what is absent. Differences are model minus rival, in {measure}.",
    "scores_fine_words": "Intervals: 95&nbsp;% percentile bootstrap over {units}. The single view was chosen by validation "
                         "records, never by these. CIDEr (0 to 10) weighs words by how rare they are among the references of "
                         "this table, so compare it on the same records only; BLEU-4 goes from 0 to 100.",
    "s_said": "Said and meant", "said_words": "Records spread evenly over the table, beside what the model says of them.",
    "s_mistakes_words": "Farthest off", "texts_words": "The records whose text is least like what should have been said.",
    "looked": "where it looked before each word", "looked_at": "where it looked before: {word}", "end_of_text": "(end)",
    "only_said": "said: {said}", "row_only": "row {row}",
    "beside": "meant: {truth}<br>said: {said}", "row_like": "row {row}, likeness (ROUGE-L) {likeness}",
}
WORDS["zh"] |= {
    "right_other": "在 {records}上，{measure} 为 <b>{accuracy}</b> {interval}。",
    "subset_accuracy": "整组全对", "average_precision": "平均精度", "hamming_loss": "出错的标签", "ranking_loss": "次序颠倒的标签对",
    "micro_f1": "微平均 F1", "concat_labels": "简单拼接（逻辑回归）", "majority_labels": "训练中的比例",
    "vs_majority_labels": "训练中的比例 {accuracy}",
    "vs_majority_numbers": "训练记录的一个常数 {accuracy}",
    "mean_apart_other": "对可计入的 {subsets}取平均：与专家回归（只用这些视图训练的线性回归）相比，{measure} 相差 {difference}；"
                        "与补零专家（用全部记录训练，缺失部分补零）相比，相差 {filled}（模型减去回归）。",
    "mae": "平均绝对误差", "rmse": "均方根误差", "r2": "决定系数 R²", "accuracy_axis_other": "指标：{measure}",
    "points_axis_other": "{measure} 的改善",
    "baselines_caption_other": "{measure} 与基线的对照", "concat_numbers": "简单拼接（岭回归）",
    "majority_numbers": "训练记录的一个常数",
    "scores_fine_other": "区间：对{units}作自助重抽样的 95% 百分位区间。最好的单个视图由验证记录选出，与这里的记录无关。",
    "carry_same_other": "模型主要靠 <b>{view}</b>：单凭它 {measure} 就达到 {alone}，而且去掉它时损失最大（改善 {adds}）。",
    "carry_two_other": "单独来看 <b>{view}</b> 知道得最多（{measure} {alone}），但去掉 <b>{other}</b> 时损失最大（改善 {adds}）。",
    "carry_none_other": "单独来看 <b>{view}</b> 知道得最多（{measure} {alone}），但只去掉任何一个视图都没有明显损失：其余视图能够弥补。",
    "carry_only_other": "单凭 <b>{view}</b>，{measure} 达到 {alone}。", "carry_all_other": "全部视图合用时达到 {all}。",
    "carry_more_other": "去掉 {views} 也会变差。", "carry_harm_other": "有 {views} 时，{measure} 反而比没有时差。",
    "points_other": "{value}{interval}",
    "matrix_caption_other": "按在场视图（实心圆点）看 {measure}：其余视图一律遮去，只取具备这些视图的记录",
    "matrix_words_other": "<em>专家回归</em>（只用这些视图训练的线性回归）为每一行单独训练；<em>补零专家</em>用全部记录训练，缺失部分以零"
                          "和在场标记代替。差值是模型减去对手，指标为 {measure}。",
    "by_caption_other": "按 {column} 细分的 {measure}，附与全部记录之差和 95% 区间",
    "by_lowest_other": "<b>{value}</b> 的 {measure} 最差：{accuracy} {interval}，与全部记录相差 {difference}。",
    "by_clear_other": "整个区间都在零的不利一侧，确实比总体差；但它是多个取值中最差的一个，看上去总会比实际更差。",
    "by_none_other": "记录足够的取值中，没有哪个的 {measure} 比全部记录差。",
    "by_fine_other": "浅色的行不足 {few} 条记录。竖线是全部记录的 {measure}。",
    "loss_axis_other": "损失", "s_spread": "回答与真值", "s_errors": "最大的误差",
    "true_axis": "真值", "said_axis": "模型的回答", "true": "真值", "spread_caption": "模型的回答与真值的对照（至多 500 条记录）",
    "errors_lie": "一半的误差（回答减真值）在 {low} 与 {high} 之间，九成在 {least} 与 {most} 之间。",
    "errors_words": "模型偏差最大的记录。", "off": "{truth} 被答为 {said}", "row_off": "第 {row} 行，偏差 {error}",
    "mixture_numbers": "回答是混合的：网络占 {network}，同样视图上的岭回归占 {regressions}。",
    "written": "由网络写出", "taken_from": "取自训练记录第 {row} 行",
    "mixture_words": "回答是网络（{network}）与最近的训练记录（{regressions}）最一致的文本；因此它可能就是某条训练记录的文本。",
    "cider": "CIDEr", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "exact": "一字不差", "wer": "词错误率", "cer": "字错误率",
    "token_accuracy": "给定前文时下一个词的正确率",
    "majority_words": "最常见的文本", "vs_majority_words": "最常见的文本 {accuracy}",
    "concat_words": "按全部视图最近的记录", "vs_concat_words": "最近训练记录的文本 {accuracy}",
    "single_words": "按 {view} 最近的记录", "vs_single_words": "只按 {view} 最近的记录 {accuracy}",
    "mean_apart_words": "对可计入的 {subsets}取平均：与恰有这些视图的最近记录的文本相比，{measure} 相差 {difference}；与全部记录中最近者的"
                        "文本相比，相差 {filled}（模型减去最近记录）。",
    "none_ahead_words": "没有哪个最近记录的文本显著领先（Holm 校正，5% 水平）。",
    "some_ahead_words": "有 {subsets}的最近记录的文本显著领先（Holm 校正，5% 水平）。",
    "specialist_words": "最近记录", "minus_specialist_words": "减最近记录", "minus_filled_words": "减全体中最近者",
    "matrix_words_words": "<em>最近记录</em>：在具备该行全部视图的训练记录中，按这些视图最近的一条的文本；<em>全体中最近者</em>在全部记录中寻找，"
                          "缺失部分以零代替。差值是模型减去对手，指标为 {measure}。",
    "scores_fine_words": "区间：对{units}作自助重抽样的 95% 百分位区间。单个视图由验证记录选出，与这里的记录无关。CIDEr（0 到 10）按词在本表"
                         "参考文本中的稀有程度加权，只宜在同样的记录上比较；BLEU-4 从 0 到 100。",
    "s_said": "所说与应说", "said_words": "均匀取自全表的记录，以及模型对它们所说的话。",
    "s_mistakes_words": "相差最远", "texts_words": "所说与应说最不相像的记录。",
    "looked": "说每个词之前看了哪里", "looked_at": "说“{word}”之前看了哪里", "end_of_text": "（完）",
    "only_said": "说：{said}", "row_only": "第 {row} 行",
    "beside": "应说：{truth}<br>所说：{said}", "row_like": "第 {row} 行，相似度（ROUGE-L）{likeness}",
}


class Words:
    """The words of one language.

    Args:
        language: a key of ``WORDS``.

    Raises:
        BadOption: there are no words of this language.

    >>> say = Words("en")
    >>> say("all_but", view="sound"), say.count(1, "record"), say.count(1234, "record")
    ('all but sound', '1 record', '1&nbsp;234 records')
    """

    def __init__(self, language: str) -> None:
        if language not in WORDS:
            raise BadOption(f"the report speaks no '{language}'; {suggest(str(language), sorted(WORDS))}")
        self.language, self._words = language, WORDS[language]

    def __call__(self, key: str, many: bool = False, **values: Any) -> str:
        """Words with their places filled; values are HTML already."""
        forms = self._words[key].split("|")
        return forms[-1 if many else 0].format(**values)

    def __contains__(self, key: object) -> bool:
        return key in self._words

    def known(self, key: str) -> str:
        """Words where there are such, else the key itself, underscores as spaces."""
        return self._words.get(key) or key.replace("_", " ")

    def count(self, n: int, noun: str) -> str:
        """A number with its noun, thousands set apart."""
        return self(f"n_{noun}", many=n != 1, n=f"{n:,}".replace(",", "&nbsp;"))

    def list(self, parts: list[str]) -> str:
        """One, two and three."""
        if len(parts) < 2:
            return "".join(parts)
        return self("comma").join(parts[:-1]) + self("and") + parts[-1]
