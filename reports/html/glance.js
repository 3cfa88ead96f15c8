{
  const panels = [...document.querySelectorAll('.panel')];
  const choices = [...document.querySelectorAll('.where input')];
  const show = () => choices.forEach((choice, i) => { panels[i].hidden = !choice.checked; });
  for (const choice of choices) choice.addEventListener('change', show);
  show();
}
