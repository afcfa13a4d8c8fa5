export function TrendPage(): preact.JSX.Element {
  return <p class="empty">trend</p>;
}
