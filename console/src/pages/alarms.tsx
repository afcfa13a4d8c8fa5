export function AlarmsPage(): preact.JSX.Element {
  return <p class="empty">alarms</p>;
}
