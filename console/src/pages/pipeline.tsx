export function PipelinePage(): preact.JSX.Element {
  return <p class="empty">pipeline</p>;
}
