/** What is shown, as a file of the person who looks. */
import { DASHES } from "./dashes";

const LINE_PX = 22;

export function saveBlob(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  saveFrom(address, name);
  URL.revokeObjectURL(address);
}

export function saveFrom(address: string, name: string): void {
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
}

/** A chart as PNG, with the names of its lines below it. */
export function savePicture(chart: HTMLCanvasElement, labels: string[], name: string): void {
  const scale = devicePixelRatio;
  const made = document.createElement("canvas");
  made.width = chart.width;
  made.height = chart.height + (labels.length + 1) * LINE_PX * scale;
  const ctx = made.getContext("2d");
  if (ctx === null) return;
  const style = getComputedStyle(document.documentElement);
  ctx.fillStyle = style.getPropertyValue("--panel").trim();
  ctx.fillRect(0, 0, made.width, made.height);
  ctx.drawImage(chart, 0, 0);
  ctx.font = `${14 * scale}px system-ui, sans-serif`;
  labels.forEach((label, at) => {
    const y = chart.height + (at + 1) * LINE_PX * scale;
    ctx.strokeStyle = style.getPropertyValue(`--s${(at % DASHES.length) + 1}`).trim();
    ctx.lineWidth = 3 * scale;
    ctx.setLineDash(DASHES[at % DASHES.length].map((px) => px * scale));
    ctx.beginPath();
    ctx.moveTo(12 * scale, y - 5 * scale);
    ctx.lineTo(36 * scale, y - 5 * scale);
    ctx.stroke();
    ctx.fillStyle = style.getPropertyValue("--text").trim();
    ctx.fillText(label, 44 * scale, y);
  });
  made.toBlob((blob) => blob && saveBlob(blob, name), "image/png");
}
