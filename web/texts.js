/** What the pack's widgets say, in the languages of its nodes. The server's sentences are English. */
import { app } from "../../scripts/app.js"

const TEXTS = {
  en: {
    labels: { source: "source", target: "target", replace: "replace", refine: "refine", blend: "blend" },
    kinds: {
      replace: "word by word, each onto its counterpart", refine: "shared words stay, new ones join",
    },
    meanings: {
      kept: "as in the source", swapped: "takes over", added: "new", dropped: "left out",
      blended: "its place may change",
    },
    unchanged: "Both prompts say the same, so that nothing will change.",
    noWords: "no words yet",
    unknown: (names) => `Known only when the graph runs: ${names}.`,
    silent: "ComfyUI does not answer.",
    cost: {
      comma: ", ",
      steps: (n) => `${n} steps`,
      forwards: (n) => `${n} forwards`,
      atMost: (n) => `${n} forwards at most`,
      seconds: (time) => `about ${time}`,
      units: ["s", "min", "h"],
      lastRun: " (last run here)",
    },
  },
  ko: {
    labels: { source: "원본", target: "목표", replace: "바꾸기", refine: "덧붙이기", blend: "혼합" },
    kinds: {
      replace: "단어마다 제 짝을 대신합니다", refine: "같은 단어는 남고 새 단어가 더해집니다",
    },
    meanings: {
      kept: "원본 그대로", swapped: "자리를 넘겨받음", added: "새 단어", dropped: "빠짐",
      blended: "이 자리는 바뀔 수 있음",
    },
    unchanged: "두 프롬프트가 같아서 아무것도 바뀌지 않습니다.",
    noWords: "아직 단어가 없습니다",
    unknown: (names) => `그래프를 실행해야 알 수 있습니다: ${names}.`,
    silent: "ComfyUI가 응답하지 않습니다.",
    cost: {
      comma: ", ",
      steps: (n) => `${n}단계`,
      forwards: (n) => `모델 계산 ${n}회`,
      atMost: (n) => `모델 계산 최대 ${n}회`,
      seconds: (time) => `약 ${time}`,
      units: ["초", "분", "시간"],
      lastRun: " (이 컴퓨터의 지난 실행 기준)",
    },
  },
  zh: {
    labels: { source: "源", target: "目标", replace: "替换", refine: "补充", blend: "混合" },
    kinds: {
      replace: "逐词替换，各就其位", refine: "相同的词不变，加入新词",
    },
    meanings: {
      kept: "与源相同", swapped: "取而代之", added: "新词", dropped: "省去", blended: "其所在位置可以改变",
    },
    unchanged: "两个提示词相同，因此什么都不会改变。",
    noWords: "还没有词",
    unknown: (names) => `运行后才能得知：${names}。`,
    silent: "ComfyUI 没有应答。",
    cost: {
      comma: "，",
      steps: (n) => `${n} 步`,
      forwards: (n) => `模型计算 ${n} 次`,
      atMost: (n) => `模型计算最多 ${n} 次`,
      seconds: (time) => `约 ${time}`,
      units: ["秒", "分钟", "小时"],
      lastRun: "（按本机上次运行）",
    },
  },
  ja: {
    labels: { source: "元", target: "目標", replace: "置き換え", refine: "書き足し", blend: "ブレンド" },
    kinds: {
      replace: "単語ごとに、対応する語と入れ替わります", refine: "同じ語は残り、新しい語が加わります",
    },
    meanings: {
      kept: "元のまま", swapped: "入れ替わる", added: "新しい語", dropped: "消える", blended: "この場所は変わりうる",
    },
    unchanged: "二つのプロンプトが同じなので、何も変わりません。",
    noWords: "まだ単語がありません",
    unknown: (names) => `実行するまで分かりません: ${names}`,
    silent: "ComfyUI が応答しません。",
    cost: {
      comma: "、",
      steps: (n) => `${n} ステップ`,
      forwards: (n) => `モデル計算 ${n} 回`,
      atMost: (n) => `モデル計算 最大 ${n} 回`,
      seconds: (time) => `約 ${time}`,
      units: ["秒", "分", "時間"],
      lastRun: "（このマシンでの前回の実行から）",
    },
  },
}

/** In the language that the page is in, else in English. */
export const texts = () => TEXTS[app.extensionManager?.setting.get("Comfy.Locale")] ?? TEXTS.en
