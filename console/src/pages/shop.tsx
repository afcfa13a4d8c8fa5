export function ShopPage(): preact.JSX.Element {
  return <p class="empty">shop</p>;
}
