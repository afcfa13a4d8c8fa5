export function FleetPage(): preact.JSX.Element {
  return <p class="empty">fleet</p>;
}
